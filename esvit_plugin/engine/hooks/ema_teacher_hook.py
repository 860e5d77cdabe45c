"""The teacher follows the student."""

import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.optim import Optimizer

from .utils import single_optimizer, unwrap_model


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

    Args:
        momentum: The momentum m_0 at the start. Use a higher one for small batches.
            Defaults to 0.996.
        end_momentum: The momentum m_1 at the end. Defaults to 1.0.

    Raises:
        ValueError: If not 0 <= momentum <= end_momentum <= 1.
    """

    def __init__(self, momentum: float = 0.996, end_momentum: float = 1.0) -> None:
        if not 0 <= momentum <= end_momentum <= 1:
            raise ValueError(
                'EMATeacherHook needs 0 <= momentum <= end_momentum <= 1, got '
                f'momentum={momentum} and end_momentum={end_momentum}.'
            )
        self.start_momentum = momentum
        self.end_momentum = end_momentum

    def momentum(self, iteration: int, max_iters: int) -> float:
        """Momentum of an iteration, counted from 0."""
        cosine = (1 + math.cos(math.pi * iteration / max_iters)) / 2
        return self.end_momentum + (self.start_momentum - self.end_momentum) * cosine

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

        def follow(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
            # A fused optimiser is called even when it must skip its step.
            found_inf = getattr(optimizer, 'found_inf', None)
            if found_inf is None or not bool(found_inf):
                model.update_teacher(self.momentum(runner.iter, runner.max_iters))

        single_optimizer(runner, self).register_step_post_hook(follow)

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
