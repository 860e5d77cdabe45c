"""Schedule of the teacher's temperature."""

from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...models.checks import check_temperatures
from .utils import train_epoch, unwrap_model


@HOOKS.register_module()
class TeacherTempHook(Hook):
    """Raises the teacher's temperature linearly over the first epochs.

    The sharper targets of a low temperature keep the first epochs stable
    (Section 4). Both heads have the same temperature, which the log shows as
    ``teacher_temp``.

    Args:
        warmup_teacher_temp: Temperature of the first epoch. Defaults to 0.04.
        teacher_temp: Temperature from the last epoch of the warm-up on; above 0.07
            training tends to be unstable. Defaults to 0.07.
        warmup_epochs: Length of the warm-up, both ends included. 0 for none.
            Defaults to 30.

    Raises:
        ValueError: If a temperature is below 1e-4 or not finite, or ``warmup_epochs``
            negative.
    """

    def __init__(
        self,
        warmup_teacher_temp: float = 0.04,
        teacher_temp: float = 0.07,
        warmup_epochs: int = 30,
    ) -> None:
        check_temperatures(
            'TeacherTempHook',
            warmup_teacher_temp=warmup_teacher_temp,
            teacher_temp=teacher_temp,
        )
        if warmup_epochs < 0:
            raise ValueError(
                f'TeacherTempHook: warmup_epochs must be >= 0, got {warmup_epochs}.'
            )
        self.teacher_temp = teacher_temp
        self._warmup = np.linspace(warmup_teacher_temp, teacher_temp, warmup_epochs)

    def temperature(self, epoch: int) -> float:
        """Temperature of an epoch, counted from 0."""
        if epoch < len(self._warmup):
            return float(self._warmup[epoch])
        return self.teacher_temp

    def schedule(
        self, iteration: int, epoch_length: int, max_iters: int
    ) -> dict[str, float]:
        """What the hook sets in an iteration, for pictures."""
        return dict(teacher_temp=self.temperature(iteration // epoch_length))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Set the temperature of the epoch."""
        temperature = self.temperature(train_epoch(runner))
        model = unwrap_model(runner)
        for head in (model.head, model.region_head):
            if head is not None:
                head.teacher_temp = temperature
        runner.message_hub.update_scalar('train/teacher_temp', temperature)
