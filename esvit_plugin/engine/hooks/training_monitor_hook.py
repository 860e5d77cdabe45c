"""Signs of collapse, seen early."""

import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from .ema_teacher_hook import EMATeacherHook
from .utils import find_hook, single_optimizer, steps_apart, unwrap_model


@HOOKS.register_module()
class TrainingMonitorHook(Hook):
    """Warns once of a collapse, and completes the log.

    A self-distilled network can collapse in several ways: to the same feature for all
    images (``feature_spread`` near 0), to a uniform output (``loss_view`` or
    ``loss_region`` stuck at ln K), or to the same target for all views or regions of
    a batch, whatever it is (the logarithm of ``prototypes_used`` near
    ``teacher_entropy``, and the same of regions). The regions of an image can become
    alike, too (``region_spread`` near 0), which satisfies both losses without any
    matching. Each is checked over the last ``window`` iterations, from 5 % of the
    training on, as every run starts near ln K, and when it ends, over at most its last
    fifth, unless that has less than 10 iterations.

    The log shows ``weight_decay``, the highest of all parameter groups, beside what
    the model and other hooks report. mmengine keeps a million values of every
    logged scalar, copies them at each iteration and writes them into every
    checkpoint; this hook keeps fewer, so that long runs do not slow down.

    Args:
        window: Number of iterations looked at, and their interval. Defaults to 100.
        min_spread: Feature spread below which images count as indistinguishable.
            Defaults to 0.01.
        min_region_spread: Spread of the regions of a view below which they count as
            alike; 0.3 is a mean cosine of 0.91 between them. Defaults to 0.3.
        min_information: What the targets tell of a view or region, in nats, below which
            they count as all alike. Defaults to 0.1.
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
        min_region_spread: float = 0.3,
        min_information: float = 0.1,
        max_start_share: float = 0.05,
    ) -> None:
        self.window = window
        self.min_spread = min_spread
        self.min_region_spread = min_region_spread
        self.min_information = min_information
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
        done, total = runner.iter + 1, runner.max_iters
        regular = self.every_n_train_iters(runner, self.window)
        recent = min(self.window, total // 5)
        # Of a run of a few iterations there is nothing to say.
        if done == total and recent >= min(self.window, 10):
            self._check(runner, recent)
        elif regular and done >= 0.05 * total:
            self._check(runner, self.window)

    def _check(self, runner: Runner, num_iters: int) -> None:
        """Look at the last iterations."""
        model = unwrap_model(runner)
        recent = _Recent(runner, num_iters)
        self._check_spread(recent)
        self._check_regions(recent, model.with_regions)
        if model.with_views:
            share = 1 - model.region_weight
            names = 'teacher_entropy', 'prototypes_used'
            self._check_task(recent, 'view', share, model.head.out_channels, names)
        if model.with_regions:
            share, classes = model.region_weight, model.region_head.out_channels
            names = 'region_entropy', 'region_prototypes_used'
            self._check_task(recent, 'region', share, classes, names)

    def _check_spread(self, recent: '_Recent') -> None:
        spread = recent.mean('feature_spread')
        if spread is not None and spread < self.min_spread:
            self._warn_once(
                'spread',
                f'feature_spread is {spread:.2g} over the last {recent.num_iters} '
                'iterations: the teacher gives all images almost the same feature, a '
                'collapse. Likely causes: a batch with one image per process, a '
                'learning rate too high for the batch size, or center_momentum near 1.',
            )

    def _check_regions(self, recent: '_Recent', trained: bool) -> None:
        spread = recent.mean('region_spread')
        if spread is None or spread >= self.min_region_spread:
            return
        if trained:
            meaning = (
                'any match satisfies the region loss. What helps: a smaller '
                'model.region_weight, views of more regions (larger, or a backbone of '
                'smaller stride), or views alone first (RegionTaskHook).'
            )
        else:
            meaning = (
                'they are of little use for detection, segmentation or a region task '
                'that follows. What helps: views of more regions (larger, or a '
                'backbone of smaller stride).'
            )
        self._warn_once(
            'regions',
            f'region_spread is {spread:.2g} over the last {recent.num_iters} '
            'iterations: the teacher gives all regions of a view almost the same '
            f'feature, so that {meaning}',
        )

    def _check_task(
        self,
        recent: '_Recent',
        kind: str,
        share: float,
        num_classes: int,
        names: tuple[str, str],
    ) -> None:
        """Look at one task.

        Args:
            recent: The log.
            kind: 'view' or 'region'.
            share: The weight of its loss.
            num_classes: K.
            names: The log's entropy and number of prototypes in use.
        """
        loss = recent.mean(f'loss_{kind}')
        if loss is None:
            return
        loss /= share
        uniform = math.log(num_classes)
        if abs(loss / uniform - 1) < 0.005:
            self._warn_once(
                f'{kind} loss',
                f'The {kind} loss is {loss:.3f} over the last {recent.num_iters} '
                f'iterations, stuck at ln K = {uniform:.3f}, the loss of a uniform '
                'output. Likely causes: a teacher temperature above 0.07 or raised '
                'too early (longer TeacherTempHook.warmup_epochs), a learning rate '
                'too high or zero, or a teacher that does not follow '
                '(EMATeacherHook missing).',
            )
            return
        entropy, log_used = recent.mean(names[0]), recent.mean(names[1], np.log)
        if entropy is None or log_used is None:  # a head of one's own
            return
        told = log_used - entropy
        if told < self.min_information:
            self._warn_once(
                f'{kind} targets',
                f'Over the last {recent.num_iters} iterations all {kind}s of a batch '
                f'have almost the same target (ln {names[1]} - {names[0]} is '
                f'{told:.2g} nats), a collapse, whatever loss and k-NN are. Likely '
                'causes: a batch with one image per process, a learning rate too high '
                'for the batch size, or too few iterations.',
            )

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            print_log(message, logger='current', level=logging.WARNING)


class _Recent(NamedTuple):
    """The last iterations of the log."""

    runner: Runner
    num_iters: int

    def mean(self, name: str, of: Callable = np.asarray) -> float | None:
        """The mean of a logged value, or of a function of it; None if there is none."""
        buffer = self.runner.message_hub.log_scalars.get(f'train/{name}')
        if buffer is None:
            return None
        return float(of(buffer.data[0][-self.num_iters :]).mean())
