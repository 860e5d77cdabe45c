"""What the view head and the region head share: temperatures and a centre."""

from collections.abc import Callable, Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from torch import Tensor

from ..checks import check_prototypes, check_temperatures
from ..utils import upcast
from .blockwise import blockwise_cross_entropy
from .pairwise import pairwise_cross_entropy, view_logits


class SelfDistillationHead(BaseModule):
    """Base of the heads that score student logits with centred teacher logits.

    Args:
        out_channels: Number of prototypes K. ``EsViT`` sets it to the neck's, and
            refuses another. Defaults to 65536.
        student_temp: Temperature of the student's softmax. Defaults to 0.1.
        teacher_temp: Temperature of the teacher's softmax; ``TeacherTempHook``
            changes it during training. Defaults to 0.07.
        center_momentum: Weight of the old centre when it moves. Defaults to 0.9.

    Raises:
        ValueError: If there are fewer than two prototypes, a temperature is below
            1e-4 or not finite, or the momentum is outside [0, 1).
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
        check_prototypes(name, out_channels)
        check_temperatures(name, student_temp=student_temp, teacher_temp=teacher_temp)
        if not 0 <= center_momentum < 1:
            raise ValueError(
                f'{name}: center_momentum must be in [0, 1), got {center_momentum}.'
            )
        self.out_channels = out_channels
        self.student_temp = student_temp
        self.teacher_temp = teacher_temp
        self.center_momentum = center_momentum
        self.register_buffer('center', torch.zeros(1, out_channels))

    def _check(self, student: Sequence[Tensor], teacher: Tensor, dim: int) -> None:
        """Refuse features that are not grouped by size, or views without a partner."""
        shapes = [tuple(x.shape) for x in student]
        grouped = not isinstance(student, Tensor) and shapes
        if not grouped or any(len(s) != dim for s in (*shapes, teacher.shape)):
            raise ValueError(
                f'{type(self).__name__} takes student features as a list, and the '
                f"teacher's as a tensor, of {dim} dimensions (B, views, ...), got "
                f'{shapes} and {tuple(teacher.shape)}.'
            )
        if teacher.shape[1] > shapes[0][1] or sum(s[1] for s in shapes) < 2:
            raise ValueError(
                f'{type(self).__name__}: the teacher sees the first of at least two '
                f'student views, got {shapes} and {tuple(teacher.shape)}.'
            )

    def cross_entropy(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        targets: Tensor,
        weights: Tensor,
        prototypes: Tensor,
        teacher_prototypes: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score student rows with teacher rows, then move the centre in training.

        Args:
            student: Bottleneck features (B, R, D).
            teacher: Bottleneck features (B, T, D).
            targets: The teacher rows that each student row is compared with, shape
                (B, R, N).
            weights: Weights of their cross-entropies, shape (B, R, N).
            prototypes: The student's, shape (K, D).
            teacher_prototypes: The teacher's, shape (K, D).

        Returns:
            The weighted sum, and of the teacher's centred and sharpened probabilities
            the mean entropy in nats and the number of prototypes that they use.
        """
        losses = blockwise_cross_entropy(
            student,
            prototypes,
            teacher,
            teacher_prototypes,
            self.center,
            targets,
            weights,
            self.student_temp,
            self.teacher_temp,
        )
        if self.training:
            self.update_center(teacher.flatten(0, 1), teacher_prototypes, losses[0])
        return losses

    def plain_cross_entropy(
        self,
        student: Sequence[Tensor],
        teacher: Tensor,
        *,
        prototypes: Tensor,
        teacher_prototypes: Tensor,
        match: Callable[[int, int], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The plain twin: from all logits, pair by pair, as released programs do.

        Args:
            student: Bottleneck features (B, n, ..., D) of the views of each size.
            teacher: Bottleneck features (B, m, ..., D) of the global views.
            prototypes: The student's, shape (K, D).
            teacher_prototypes: The teacher's, shape (K, D).
            match: See ``pairwise_cross_entropy``. Defaults to None.

        Returns:
            The mean loss over the pairs, and the others of :meth:`cross_entropy`.
        """
        with torch.no_grad():
            targets = view_logits([teacher], teacher_prototypes)
        losses = pairwise_cross_entropy(
            view_logits(student, prototypes),
            targets,
            self.center,
            self.student_temp,
            self.teacher_temp,
            match,
        )
        if self.training:
            with torch.no_grad():
                rows = torch.cat([upcast(x).flatten(0, -2) for x in targets])
                self._move_center(rows.mean(0, keepdim=True), losses[0])
        return losses

    @torch.no_grad()
    def update_center(
        self,
        teacher: Tensor,
        teacher_prototypes: Tensor,
        loss: Tensor | None = None,
    ) -> None:
        """Move the centre towards the mean logits of the teacher's rows (N, D).

        The mean runs over the batches of all processes, which must be of one size. The
        centre stays where it is if the mean, or the loss of any process, is not finite.
        """
        with torch.autocast(teacher.device.type, enabled=False):
            mean = upcast(teacher).mean(dim=0, keepdim=True)
            mean = mean @ upcast(teacher_prototypes).T
        self._move_center(mean, loss)

    def _move_center(self, mean: Tensor, loss: Tensor | None) -> None:
        if loss is not None:
            # So that all processes hear of it
            mean = torch.where(torch.isfinite(loss), mean, torch.nan)
        all_reduce(mean, op='mean')
        mean = torch.where(torch.isfinite(mean).all(), mean, self.center)
        self.center.lerp_(mean, 1 - self.center_momentum)


def pair_weights(num_student: int, num_teacher: int, like: Tensor) -> Tensor:
    """Weights (student views, teacher views), of sum 1, of the views compared.

    The teacher sees the first views of the student, and a view is not compared
    with itself: 18 pairs for 2 global and 8 local views.
    """
    shape = num_student, num_teacher
    others = like.new_ones(shape) - torch.eye(
        *shape, dtype=like.dtype, device=like.device
    )
    return others / (num_student * num_teacher - num_teacher)
