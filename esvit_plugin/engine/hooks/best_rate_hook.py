"""The best learning rate of a linear probe, kept in its checkpoints."""

import os
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...models.classifiers import LinearSweepClassifier
from .checkpoint_hook import AtomicCheckpointHook

_METRIC = 'best_lr_factor'


@HOOKS.register_module()
class BestRateHook(Hook):
    """Makes a ``LinearSweepClassifier`` predict with the rate that validates best.

    A checkpoint is written before its epoch is validated, so that it has the choice of
    the validation before; the last one is written again when the training ends.

    Raises:
        TypeError: If the model is no ``LinearSweepClassifier``.
    """

    def before_train(self, runner: Runner) -> None:
        """Refuse other models."""
        _classifier(runner)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Tell the classifier which rate ``LinearSweepAccuracy`` found the best."""
        for name, value in (metrics or {}).items():
            if name.rpartition('/')[2] == _METRIC:
                _classifier(runner).choose(value)

    def after_train(self, runner: Runner) -> None:
        """Write the last checkpoint again, with the choice of the last validation."""
        for hook in runner.hooks:
            if not isinstance(hook, AtomicCheckpointHook) or not hook.by_epoch:
                continue
            path = os.path.join(
                str(hook.out_dir), hook.filename_tmpl.format(runner.epoch)
            )
            # Saving takes all processes, and one alone may see that folder.
            exists = [os.path.isfile(path)]
            broadcast_object_list(exists)
            if exists[0]:
                meta = dict(epoch=runner.epoch, iter=runner.iter)
                hook._save_checkpoint_with_step(runner, runner.epoch, meta)


def _classifier(runner: Runner) -> LinearSweepClassifier:
    model: Any = runner.model
    if is_model_wrapper(model):
        model = model.module
    if not isinstance(model, LinearSweepClassifier):
        raise TypeError(
            'BestRateHook is for a LinearSweepClassifier, but the model is '
            f'{type(model).__name__}: leave it out of custom_hooks.'
        )
    return model
