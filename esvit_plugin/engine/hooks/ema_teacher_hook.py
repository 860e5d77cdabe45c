"""The teacher follows the student."""

import math
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner
from mmpretrain.registry import HOOKS
from torch.optim import Optimizer

from .finite_guard_hook import FiniteGuardHook
from .utils import find_hook, single_optimizer, steps_apart, unwrap_model


@HOOKS.register_module()
class EMATeacherHook(Hook):
    r"""Moves the teacher after each real step of the optimiser.

    teacher <- m teacher + (1 - m) student over parameters, with
    :math:`m = m_1 + (m_0 - m_1) (1 + \cos(\pi\, it / max\_iters)) / 2`
    (Section 3.2). The hook sits on the optimiser itself, so that iterations that
    only accumulate gradients, and steps that mixed precision skips because of an
    overflow, leave the teacher alone. The teacher's weights are part of the model's
    state dict, and the momentum follows from the iteration, so a resumed run
    continues as it would have. The log shows ``teacher_momentum``.

    The product of all momenta is the share that the *initial* weights have in the
    teacher at the end: nothing in the paper's 750,000 steps, but 95 % after 200 steps
    of m_0 = 0.9995. ``start_share`` keeps a short run from that.

    Args:
        momentum: The momentum m_0 at the start. Use a higher one for small batches.
            Defaults to 0.996.
        end_momentum: The momentum m_1 at the end. Defaults to 1.0.
        start_share: The largest share of the initial weights in the teacher at the end
            of training, in (0, 1). Where ``momentum`` would leave more, m_0 is lowered
            until it does not. Defaults to None: ``momentum`` as it is.

    Raises:
        ValueError: If not 0 <= momentum <= end_momentum <= 1, or ``start_share`` is
            out of range.
    """

    def __init__(
        self,
        momentum: float = 0.996,
        end_momentum: float = 1.0,
        start_share: float | None = None,
    ) -> None:
        if not 0 <= momentum <= end_momentum <= 1:
            raise ValueError(
                'EMATeacherHook needs 0 <= momentum <= end_momentum <= 1, got '
                f'momentum={momentum} and end_momentum={end_momentum}.'
            )
        if start_share is not None and not 0 < start_share < 1:
            raise ValueError(
                f'EMATeacherHook: start_share must lie in (0, 1), got {start_share}.'
            )
        self.start_momentum = momentum
        self.end_momentum = end_momentum
        self.start_share = start_share

    def momentum(self, iteration: int, max_iters: int) -> float:
        """Momentum of an iteration, counted from 0."""
        cosine = (1 + math.cos(math.pi * iteration / max_iters)) / 2
        return self.end_momentum + (self.start_momentum - self.end_momentum) * cosine

    def remaining_share(self, max_iters: int, stride: int = 1) -> float:
        """Share of the initial weights in the teacher after all iterations.

        Args:
            max_iters: Their number.
            stride: Iterations per step of the optimiser. Defaults to 1.
        """
        return _share(self.start_momentum, self.end_momentum, max_iters, stride)

    def before_run(self, runner: Runner) -> None:
        """Fit the momentum to the length of the training."""
        if self.start_share is not None and isinstance(runner._train_loop, BaseLoop):
            self.fit_momentum(runner.max_iters, steps_apart(runner))

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimiser.

        Raises:
            TypeError: If the model has no teacher.
        """
        model = unwrap_model(runner)
        if not hasattr(model, 'update_teacher'):
            raise TypeError(
                'EMATeacherHook needs a model with update_teacher(momentum), such as '
                f'EsViT, but the model is {type(model).__name__}.'
            )
        guard = find_hook(runner, FiniteGuardHook)

        def follow(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
            momentum = self.momentum(runner.iter, runner.max_iters)
            # A fused optimiser is called even when it must skip its step.
            skip = getattr(optimizer, 'found_inf', None)
            skip = None if skip is None else skip.reshape(()) > 0
            fault = guard.skips() if guard is not None else None
            if fault is not None:
                skip = fault if skip is None else skip | fault
            model.update_teacher(momentum, skip)

        single_optimizer(runner, self).register_step_post_hook(follow)

    def schedule(
        self, iteration: int, epoch_length: int, max_iters: int
    ) -> dict[str, float]:
        """What the hook sets in an iteration, for pictures."""
        return dict(teacher_momentum=self.momentum(iteration, max_iters))

    def fit_momentum(self, length: int, stride: int = 1) -> None:
        """Lower the momentum at the start until a run leaves no more than the share.

        Args:
            length: Iterations of the run.
            stride: Iterations per step of the optimiser. Defaults to 1.
        """
        share, end = self.start_share, self.end_momentum
        if share is None:
            return
        if _share(self.start_momentum, end, length, stride) <= share:
            return
        low, high = 0.0, self.start_momentum
        for _ in range(60):
            middle = (low + high) / 2
            if _share(middle, end, length, stride) > share:
                high = middle
            else:
                low = middle
        print_log(
            f'EMATeacherHook: in {length} iterations a momentum of '
            f'{self.start_momentum} would leave '
            f'{100 * self.remaining_share(length, stride):.0f} % of the initial '
            f'weights in the teacher; it begins with {low:.4g}, which leaves '
            f'{100 * share:.2g} %.',
            logger='current',
        )
        self.start_momentum = low

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Log the momentum."""
        runner.message_hub.update_scalar(
            'train/teacher_momentum', self.momentum(runner.iter, runner.max_iters)
        )


def _share(start: float, end: float, length: int, stride: int) -> float:
    """Product of the momenta of all steps."""
    steps = np.arange(stride - 1, length, stride)
    momenta = end + (start - end) * (1 + np.cos(np.pi * steps / length)) / 2
    return float(np.exp(np.log(np.maximum(momenta, 1e-300)).sum()))
