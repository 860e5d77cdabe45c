"""The view-level task L_V."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import SelfDistillationHead, view_pairs


@MODELS.register_module()
class DINOViewHead(SelfDistillationHead):
    r"""Cross-entropy between whole views, L_V (Section 3.2, eq. 1; DINO).

    For every teacher view i and every other student view v,

    .. math:: L_{iv} = -\sum_k p_{ik} \log q_{vk},

    with :math:`q_v = softmax(s_v / 0.1)`, :math:`p_i = softmax((t_i - c) / T)`,
    averaged over the images of the batch and over the pairs. After each call in
    training mode the centre c moves towards the mean teacher logits.

    Args and errors are those of :class:`SelfDistillationHead`.

    Example:
        >>> import torch
        >>> from esvit_plugin.models import DINOViewHead
        >>> head = DINOViewHead(out_channels=16)
        >>> student = [torch.randn(4, 16) for _ in range(10)]
        >>> teacher = [torch.randn(4, 16) for _ in range(2)]
        >>> sorted(head.loss(student, teacher))
        ['loss_view', 'teacher_entropy']
    """

    def loss(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Score student views against teacher views.

        Args:
            student: Logits (B, K) of every view, global views first.
            teacher: Logits (B, K) of the global views, in the same order.

        Returns:
            ``loss_view``, and ``teacher_entropy``: the mean entropy of the
            teacher's probabilities in nats, between 0 (one prototype) and ln K
            (uniform).
        """
        log_probs = [self.student_log_probs(logits) for logits in student]
        targets = [self.teacher_probs(logits) for logits in teacher]
        pairs = view_pairs(len(student), len(teacher))
        losses = [-(targets[t] * log_probs[s]).sum(-1).mean() for t, s in pairs]
        entropy = torch.stack([torch.special.entr(p).sum(-1).mean() for p in targets])
        if self.training:
            self.update_center(torch.cat(list(teacher)))
        return dict(
            loss_view=torch.stack(losses).mean(), teacher_entropy=entropy.mean()
        )
