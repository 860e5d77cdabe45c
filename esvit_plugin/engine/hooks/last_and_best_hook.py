"""The last and the best validation of a training, side by side."""

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class LastAndBestHook(Hook):
    """Reports each metric's last and best value over all validations.

    The released linear evaluation validates every epoch and reports the best one, which
    is chosen on the validation set itself; the last is what a fixed schedule gives. So
    both are logged when the training ends. A resumed run remembers its best.

    Args:
        keys: Patterns of the metrics' names, e.g. ``accuracy/x*``. Defaults to
            ``('*',)``, all. Higher must be better.
    """

    # Validation needs what other hooks prepare before training.
    priority = 'LOWEST'

    def __init__(self, keys: Sequence[str] = ('*',)) -> None:
        self.keys = tuple(keys)

    def before_train(self, runner: Runner) -> None:
        """Validate the epoch that a run is resumed from, if that is not in its record.

        A checkpoint is written before the validation of its epoch.
        """
        loop, epoch = runner.train_loop, runner.epoch
        at_end = epoch and runner.iter == epoch * len(runner.train_dataloader)
        on_time = epoch % loop.val_interval == 0 or epoch == loop.max_epochs
        is_due = at_end and epoch >= loop.val_begin and on_time
        if runner.val_loop is None or not is_due:
            return
        record = dict(runner.message_hub.runtime_info).get(_RECORD, {})
        if all(values['last'][1] < epoch for values in record.values()):
            runner.logger.info(f'Epoch {epoch} is validated before going on.')
            runner.val_loop.run()

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Compare with the best so far."""
        record: dict[str, Any] = dict(runner.message_hub.runtime_info).get(_RECORD, {})
        for key, value in (metrics or {}).items():
            if not any(fnmatch(key, pattern) for pattern in self.keys):
                continue
            last = (float(value), runner.epoch)
            best = record.get(key, dict(best=last))['best']
            # Of equal ones the earliest.
            record[key] = dict(last=last, best=max(best, last, key=lambda v: v[0]))
        runner.message_hub.update_info(_RECORD, record)

    def after_train(self, runner: Runner) -> None:
        """Log both."""
        record = dict(runner.message_hub.runtime_info).get(_RECORD, {})
        for key, values in record.items():
            parts = (
                f'{kind} {values[kind][0]:.2f} (epoch {values[kind][1]})'
                for kind in ('last', 'best')
            )
            runner.logger.info(f'{key}: {", ".join(parts)}')


_RECORD = 'last_and_best'
