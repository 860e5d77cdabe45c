"""The view-level task L_V."""

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ..plain import use_plain
from .base import SelfDistillationHead, pair_weights

# What the loss is made of, in the order of ``cross_entropy``
NAMES = 'loss_view', 'teacher_entropy', 'prototypes_used'


@MODELS.register_module()
class DINOViewHead(SelfDistillationHead):
    r"""Cross-entropy between whole views, L_V (Section 3.2, eq. 1; DINO).

    For every teacher view i and every other student view v,

    .. math:: L_{iv} = -\sum_k p_{ik} \log q_{vk},

    with :math:`q_v = softmax(s_v / 0.1)`, :math:`p_i = softmax((t_i - c) / T)`,
    averaged over the images of the batch and over the pairs. After each call in
    training mode the centre c moves towards the mean teacher logits.

    The logits s and t are products of bottleneck features and prototypes; they are
    taken block by block (:func:`blockwise_cross_entropy`) and never all held.

    Args and errors are those of :class:`SelfDistillationHead`.

    Example:
        >>> import torch
        >>> from esvit_plugin.models import DINOViewHead
        >>> head = DINOViewHead(out_channels=16)
        >>> student = [torch.randn(4, n, 8) for n in (2, 8)]
        >>> prototypes = torch.randn(16, 8)
        >>> losses = head.loss(
        ...     student=student,
        ...     teacher=student[0],
        ...     prototypes=prototypes,
        ...     teacher_prototypes=prototypes,
        ... )
        >>> sorted(losses)
        ['loss_view', 'prototypes_used', 'teacher_entropy']
    """

    def loss(
        self,
        *,
        student: Sequence[Tensor],
        teacher: Tensor,
        prototypes: Tensor,
        teacher_prototypes: Tensor,
    ) -> dict[str, Tensor]:
        """Score student views against teacher views.

        Args:
            student: Bottleneck features (B, n, D) of the views of each size; first
                the teacher's views, in the same order.
            teacher: Bottleneck features (B, m, D) of the global views.
            prototypes: The student's prototypes (K, D).
            teacher_prototypes: The teacher's prototypes (K, D).

        Returns:
            ``loss_view``; ``teacher_entropy``, the mean entropy of the teacher's
            probabilities in nats, between 0 (one prototype) and ln K (uniform); and
            ``prototypes_used``, to how many prototypes all of them go, between 1 and K
            (the exponential of the entropy of their mean).

        Raises:
            ValueError: If the features have other shapes, or a view has no partner.
        """
        self._check(student, teacher, 3)
        matrices: dict[str, Any] = dict(
            prototypes=prototypes, teacher_prototypes=teacher_prototypes
        )
        if use_plain():
            losses = self.plain_cross_entropy(student, teacher, **matrices)
            return dict(zip(NAMES, losses, strict=True))
        views = torch.cat(list(student), 1)
        (batch, num_views), num_global = views.shape[:2], teacher.shape[1]
        weights = pair_weights(num_views, num_global, self.center) / batch
        losses = self.cross_entropy(
            views,
            teacher,
            # Every view meets all global ones; its own has weight 0.
            targets=torch.arange(num_global, device=views.device).expand(
                batch, num_views, -1
            ),
            weights=weights.expand(batch, -1, -1),
            **matrices,
        )
        return dict(zip(NAMES, losses, strict=True))
