"""What the view head and the region head share: temperatures and a centre."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from torch import Tensor

from ..utils import upcast


class SelfDistillationHead(BaseModule):
    """Base of the heads that score student logits with centred teacher logits.

    Args:
        out_channels: Number of prototypes K, the same as the neck's.
            Defaults to 65536.
        student_temp: Temperature of the student's softmax. Defaults to 0.1.
        teacher_temp: Temperature of the teacher's softmax; ``TeacherTempHook``
            changes it during training. Defaults to 0.07.
        center_momentum: Weight of the old centre when it moves. Defaults to 0.9.

    Raises:
        ValueError: If a temperature is not positive or the momentum is outside
            [0, 1).
    """

    center: Tensor

    def __init__(
        self,
        out_channels: int = 65536,
        student_temp: float = 0.1,
        teacher_temp: float = 0.07,
        center_momentum: float = 0.9,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        if min(student_temp, teacher_temp) <= 0:
            raise ValueError(
                f'{name}: temperatures must be positive, got '
                f'student_temp={student_temp} and teacher_temp={teacher_temp}.'
            )
        if not 0 <= center_momentum < 1:
            raise ValueError(
                f'{name}: center_momentum must be in [0, 1), got {center_momentum}.'
            )
        self.out_channels = out_channels
        self.student_temp = student_temp
        self.teacher_temp = teacher_temp
        self.center_momentum = center_momentum
        self.register_buffer('center', torch.zeros(1, out_channels))

    def student_log_probs(self, logits: Tensor) -> Tensor:
        """Log-softmax of student logits (..., K) at the student temperature."""
        return F.log_softmax(upcast(logits) / self.student_temp, dim=-1)

    @torch.no_grad()
    def teacher_probs(self, logits: Tensor) -> Tensor:
        """Softmax of teacher logits (..., K), centred and sharpened (eq. 1)."""
        return F.softmax((upcast(logits) - self.center) / self.teacher_temp, dim=-1)

    @torch.no_grad()
    def update_center(self, logits: Tensor) -> None:
        """Move the centre towards the mean of raw teacher logits (N, K).

        The mean runs over the batches of all processes, which must be of one size.
        """
        mean = upcast(logits).mean(dim=0, keepdim=True)
        all_reduce(mean, op='mean')
        self.center.lerp_(mean, 1 - self.center_momentum)


def view_pairs(num_student: int, num_teacher: int) -> list[tuple[int, int]]:
    """Index pairs (teacher view, student view) that are compared.

    The teacher sees the first views of the student, and a view is not compared
    with itself: 18 pairs for 2 global and 8 local views.
    """
    return [(t, s) for t in range(num_teacher) for s in range(num_student) if t != s]
