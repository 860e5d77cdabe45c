"""States of schedules in a checkpoint: what can be read again, and what is needed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.runner import Runner
from torch import Tensor

# Of a schedule that follows a metric; all else follows from the config.
_FOLLOWED = ('best', 'num_bad_epochs', 'cooldown_counter', 'last_step', '_global_step')


@contextmanager
def plain_states(runner: Runner) -> Iterator[None]:
    """Save of each schedule only what is read again without running code.

    A schedule's state is all that it has; that of ``OneCycleLR`` has a function.

    Args:
        runner: Any Runner, about to save a checkpoint.
    """
    whole: Any = runner.param_schedulers
    plain: Any = None
    if isinstance(whole, dict):
        plain = {name: [_PlainState(s) for s in part] for name, part in whole.items()}
    elif whole is not None:
        plain = [_PlainState(scheduler) for scheduler in whole]
    runner.param_schedulers = plain
    try:
        yield
    finally:
        runner.param_schedulers = whole


class _PlainState:
    """A schedule, of which only the plain values are saved."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def state_dict(self) -> dict[str, Any]:
        state = self._scheduler.state_dict().items()
        values = {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in state
        }
        return {key: value for key, value in values.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_plain([*value, *value.values()])
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    # Not what only inherits from these, whose classes are not read again.
    return value is None or type(value) in (bool, int, float, complex, str, Tensor)


def resume_followers(
    schedulers: Sequence[Any], states: Any, optimizer: Mapping[str, Any]
) -> str | None:
    """Have schedules that follow a metric go on, such as ``ReduceOnPlateauLR``.

    What they have done cannot be replayed, so it is taken from the checkpoint; where
    the config's value is another one now, in proportion.

    Args:
        schedulers: Of one optimiser, in the order of the config.
        states: The checkpoint's of them, if it has any.
        optimizer: The checkpoint's of the optimiser.

    Returns:
        What to say of those that begin anew, None if there are none.
    """
    kinds = ('param_name', 'monitor')
    saved = [s for s in states or () if isinstance(s, dict) and 'num_bad_epochs' in s]
    anew = []
    for scheduler in schedulers:
        if not hasattr(scheduler, 'need_val_args'):
            continue
        own = [getattr(scheduler, kind, None) for kind in kinds]
        fits = [s for s in saved if [s.get(kind) for kind in kinds] == own]
        if not fits or not _take_values(scheduler, optimizer):
            anew.append(f'{type(scheduler).__name__}({scheduler.param_name})')
            continue
        saved.remove(fits[0])
        for key in _FOLLOWED:
            setattr(scheduler, key, fits[0].get(key, getattr(scheduler, key)))
    if not anew:
        return None
    return (
        f'{", ".join(anew)}: the checkpoint has no state of this schedule, which '
        "begins anew from the config's value. If it was reduced before, set the "
        "reduced value in optim_wrapper.optimizer, or use the checkpoint's config."
    )


def _take_values(scheduler: Any, optimizer: Mapping[str, Any]) -> bool:
    """Set the saved values of a schedule's groups; False if the groups are others."""
    name = scheduler.param_name
    saved = list(optimizer.get('param_groups', ()))
    if optimizer.get('base_param_settings') is not None:
        saved.append(optimizer['base_param_settings'])
    groups = scheduler.optimizer.param_groups
    if len(groups) != len(saved) or any(name not in old for old in saved):
        return False
    for group, old in zip(groups, saved, strict=True):
        begin, now = old.get(f'initial_{name}'), group[f'initial_{name}']
        group[name] = old[name] if begin in (None, 0, now) else old[name] * now / begin
    scheduler._last_value = [group[name] for group in groups]
    return True
