"""Signs of collapse, seen early."""

import logging
import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from .ema_teacher_hook import EMATeacherHook
from .utils import find_hook, single_optimizer, steps_apart, unwrap_model


@HOOKS.register_module()
class TrainingMonitorHook(Hook):
    """Warns once of a collapse, and completes the log.

    A self-distilled network can collapse in two ways: to the same output for all
    images (``feature_spread`` near 0), or to a uniform output (``loss_view`` stuck
    at ln K). With regions there is a third: those of an image become alike
    (``region_spread`` near 0), which satisfies both losses without any matching.
    Each is checked over the last ``window`` iterations, from 5 % of the training on,
    as every run starts near ln K.

    The log shows ``weight_decay``, the highest of all parameter groups, beside what
    the model and other hooks report. mmengine keeps a million values of every
    logged scalar, copies them at each iteration and writes them into every
    checkpoint; this hook keeps fewer, so that long runs do not slow down.

    Args:
        window: Number of iterations looked at, and their interval. Defaults to 100.
        min_spread: Feature spread below which images count as indistinguishable.
            Defaults to 0.01.
        min_region_spread: Spread of the regions of a view below which they count as
            alike; 0.2 is a mean cosine of 0.96 between them. Defaults to 0.2.
        max_history: Number of values kept of each logged scalar. Defaults to 10000.
        max_start_share: Share of the weights that the teacher starts with, at the end
            of training, above which a run counts as too short. Defaults to 0.05.
    """

    # Before LoggerHook (BELOW_NORMAL) writes, after RuntimeInfoHook (VERY_HIGH) has
    # collected the losses.
    priority = 'NORMAL'

    def __init__(
        self,
        window: int = 100,
        min_spread: float = 0.01,
        min_region_spread: float = 0.2,
        max_history: int = 10000,
        max_start_share: float = 0.05,
    ) -> None:
        self.window = window
        self.min_spread = min_spread
        self.min_region_spread = min_region_spread
        self.max_history = max_history
        self.max_start_share = max_start_share
        self._warned: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Warn if nothing will move the teacher, or not far enough."""
        hook = find_hook(runner, EMATeacherHook)
        if hook is None:
            self._warn_once(
                'teacher',
                'There is no EMATeacherHook in custom_hooks: the teacher will stay at '
                'its random weights.',
            )
            return
        share = hook.remaining_share(runner.max_iters, steps_apart(runner))
        if share > self.max_start_share:
            self._warn_once(
                'share',
                f'After all {runner.max_iters} iterations {100 * share:.0f} % of the '
                'weights that the teacher starts with will remain in it, as the '
                f'momentum of EMATeacherHook begins with {hook.start_momentum:.4g}. '
                'Set EMATeacherHook.start_share=0.01, or train longer.',
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Log the weight decay; look for a collapse once per window."""
        groups = single_optimizer(runner, self).param_groups
        hub = runner.message_hub
        hub.update_scalar(
            'train/weight_decay', max(group['weight_decay'] for group in groups)
        )
        if not self.every_n_train_iters(runner, self.window):
            return
        for buffer in hub.log_scalars.values():
            buffer.max_length = self.max_history
        if runner.iter + 1 >= 0.05 * runner.max_iters:
            self._check_spread(runner)
            self._check_regions(runner)
            self._check_loss(runner)

    def _check_spread(self, runner: Runner) -> None:
        spread = self._mean(runner, 'feature_spread')
        if spread is not None and spread < self.min_spread:
            self._warn_once(
                'spread',
                f'feature_spread is {spread:.2g} over the last {self.window} '
                'iterations: the teacher gives all images almost the same feature, a '
                'collapse. Likely causes: a batch with one image per process, a '
                'learning rate too high for the batch size, or center_momentum near 1.',
            )

    def _check_regions(self, runner: Runner) -> None:
        spread = self._mean(runner, 'region_spread')
        if spread is not None and spread < self.min_region_spread:
            self._warn_once(
                'regions',
                f'region_spread is {spread:.2g} over the last {self.window} '
                'iterations: the teacher gives all regions of a view almost the same '
                'feature, so that any match satisfies the region loss. What helps: a '
                'smaller model.region_weight, views of more regions (larger, or a '
                'backbone of smaller stride), or views alone first (RegionTaskHook).',
            )

    def _check_loss(self, runner: Runner) -> None:
        model = unwrap_model(runner)
        # Of views, unless only regions are trained.
        kind, head, weight = 'view', model.head, 1 - model.region_weight
        if not weight:
            kind, head, weight = 'region', model.region_head, 1.0
        loss = self._mean(runner, f'loss_{kind}')
        if loss is None:
            return
        loss /= weight
        uniform = math.log(head.out_channels)
        if abs(loss / uniform - 1) < 0.005:
            self._warn_once(
                'loss',
                f'The {kind} loss is {loss:.3f} over the last {self.window} '
                f'iterations, stuck at ln K = {uniform:.3f}, the loss of a uniform '
                'output. Likely causes: a teacher temperature above 0.07 or raised '
                'too early (longer TeacherTempHook.warmup_epochs), a learning rate '
                'too high or zero, or a teacher that does not follow '
                '(EMATeacherHook missing).',
            )

    def _mean(self, runner: Runner, name: str) -> float | None:
        scalars = runner.message_hub.log_scalars
        key = f'train/{name}'
        return scalars[key].mean(self.window) if key in scalars else None

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            print_log(message, logger='current', level=logging.WARNING)
