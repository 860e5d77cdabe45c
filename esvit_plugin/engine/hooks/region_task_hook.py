"""The region task joins a run that began with views alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from .utils import single_optimizer, unwrap_model


@HOOKS.register_module()
class RegionTaskHook(Hook):
    """Lets a view-only run be resumed with the region task (Section 4).

    ``--resume`` with the checkpoint of a view-only run then continues it: student,
    teacher, centres, the schedules and the iteration are the run's own; only the region
    necks start anew, the teacher's equal to the student's. Parameters are found by
    name, so the second phase may freeze some, such as the prototypes' norms
    (``norm_last_layer=True``). Any other checkpoint is resumed as ever.

    Args:
        reset_optimizer: Whether the optimiser forgets its moments at that moment, as in
            the released runs: their program fails to load its state, logs that, and
            goes on. Defaults to False: parameters that were trained before keep theirs.
    """

    def __init__(self, reset_optimizer: bool = False) -> None:
        self.reset_optimizer = reset_optimizer

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Make room for the new parameters in the optimiser's state.

        Args:
            runner: The runner.
            checkpoint: The checkpoint, changed in place.

        Raises:
            ValueError: If the optimisers' groups of parameters do not fit.
        """
        names = checkpoint.get('state_dict', checkpoint)
        begun = any(name.startswith('region_neck.') for name in names)
        model = unwrap_model(runner)
        if begun or not model.with_regions or 'optimizer' not in checkpoint:
            return
        saved = checkpoint['optimizer']
        groups = single_optimizer(runner, self).param_groups
        if len(saved['param_groups']) != len(groups):
            raise ValueError(
                "RegionTaskHook: the checkpoint's optimiser has "
                f'{len(saved["param_groups"])} groups of parameters, but this config '
                f'has {len(groups)}. Use the optim_wrapper of the first phase.'
            )
        params = {param: name for name, param in model.named_parameters()}
        named = [[params[param] for param in group['params']] for group in groups]
        numbers = {} if self.reset_optimizer else _numbers(saved['param_groups'], named)
        state, new_groups, start = {}, [], 0
        for old, group, own in zip(saved['param_groups'], groups, named, strict=True):
            stop = start + len(own)
            for number, param, name in zip(
                range(start, stop), group['params'], own, strict=True
            ):
                before = saved['state'].get(numbers.get(name))
                if before is not None:
                    _check_shapes(before, param, name)
                    state[number] = before
            new = {**old, 'params': list(range(start, stop))}
            if 'param_names' in old:
                new['param_names'] = own
            new_groups.append(new)
            start = stop
        # Means over the last iterations would mix what was weighted otherwise.
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name in [name for name in scalars if name.startswith('train/loss')]:
            del scalars[name]
        checkpoint['optimizer'] = {**saved, 'state': state, 'param_groups': new_groups}
        moments = (
            'The optimiser begins without moments (reset_optimizer=True).'
            if self.reset_optimizer
            else f'{len(state)} of {start} parameters keep their moments.'
        )
        runner.logger.info(f'The region task begins; its necks start anew. {moments}')


def _numbers(
    groups: Sequence[Mapping[str, Any]], named: Sequence[Sequence[str]]
) -> dict[str, int]:
    """A saved optimiser's number of each parameter.

    Args:
        groups: Its groups.
        named: The names of the parameters of this run's groups.

    Raises:
        ValueError: If the checkpoint does not have the names, and they do not follow
            from those of this run.
    """
    numbers: dict[str, int] = {}
    for group, own in zip(groups, named, strict=True):
        names = group.get('param_names')
        if names is None:
            # All but the regions', in the same order.
            names = [name for name in own if not name.startswith('region_neck.')]
        if len(names) != len(group['params']):
            raise ValueError(
                "RegionTaskHook: a group of the checkpoint's optimiser has "
                f'{len(group["params"])} parameters, but this run has {len(names)} '
                'besides those of regions, and the checkpoint does not name them. '
                'Train the same parameters as the first phase, or begin without '
                'moments: RegionTaskHook.reset_optimizer=True.'
            )
        numbers.update(zip(names, group['params'], strict=True))
    return numbers


def _check_shapes(state: Mapping[str, Any], param: Tensor, name: str) -> None:
    for key, value in state.items():
        if isinstance(value, Tensor) and value.dim() and value.shape != param.shape:
            raise ValueError(
                f'RegionTaskHook: {key} of the optimiser has shape '
                f'{tuple(value.shape)}, its parameter {name} {tuple(param.shape)}. Use '
                'the model and the optim_wrapper of the first phase.'
            )
