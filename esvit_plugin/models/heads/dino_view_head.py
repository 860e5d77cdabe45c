"""The view-level task L_V."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import SelfDistillationHead, pair_weights


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
        >>> student = [torch.randn(4, 8) for _ in range(10)]
        >>> prototypes = torch.randn(16, 8)
        >>> sorted(head.loss(student, student[:2], prototypes, prototypes))
        ['loss_view', 'teacher_entropy']
    """

    def loss(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        prototypes: Tensor,
        teacher_prototypes: Tensor,
    ) -> dict[str, Tensor]:
        """Score student views against teacher views.

        Args:
            student: Bottleneck features (B, D) of every view, global views first.
            teacher: Bottleneck features (B, D) of the global views, in the same
                order.
            prototypes: The student's prototypes (K, D).
            teacher_prototypes: The teacher's prototypes (K, D).

        Returns:
            ``loss_view``, and ``teacher_entropy``: the mean entropy of the
            teacher's probabilities in nats, between 0 (one prototype) and ln K
            (uniform).
        """
        rows = torch.stack(list(student), 1)
        weights = pair_weights(len(student), len(teacher), self.center) / len(rows)
        everyone = torch.arange(len(teacher), device=rows.device)
        loss, entropy = self.cross_entropy(
            rows,
            torch.stack(list(teacher), 1),
            everyone.expand(*rows.shape[:2], -1),
            weights.expand(len(rows), -1, -1),
            prototypes,
            teacher_prototypes,
            with_entropy=True,
        )
        return dict(loss_view=loss, teacher_entropy=entropy)
