"""The region-level task L_R."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from ..utils import upcast
from .base import SelfDistillationHead, view_pairs


@MODELS.register_module()
class RegionMatchingHead(SelfDistillationHead):
    r"""Cross-entropy between matched regions of views, L_R (Section 3.2, eq. 2).

    For every teacher view i and every other student view v, each student region is
    matched with the teacher region whose *backbone* features are most similar
    (cosine), and takes that region's teacher probability as its target. The
    cross-entropies are averaged over regions, images and pairs of views. After
    each call in training mode the centre moves towards the mean teacher logits of
    all regions.

    Args and errors are those of :class:`SelfDistillationHead`.

    Example:
        >>> import torch
        >>> from esvit_plugin.models import RegionMatchingHead
        >>> head = RegionMatchingHead(out_channels=16)
        >>> regions = [49] * 2 + [9] * 8
        >>> student = [torch.randn(4, t, 16) for t in regions]
        >>> student_feats = [torch.randn(4, t, 24) for t in regions]
        >>> losses = head.loss(
        ...     student, student[:2], student_feats, student_feats[:2])
        >>> sorted(losses)
        ['loss_region']
    """

    def loss(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        student_feats: Sequence[Tensor],
        teacher_feats: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Score the regions of student views against those of teacher views.

        Args:
            student: Logits (B, T_v, K) of the regions of every view, global views
                first; T_v differs between sizes of view.
            teacher: Logits (B, T, K) of the regions of the global views.
            student_feats: Backbone features (B, T_v, C) of the same regions.
            teacher_feats: Backbone features (B, T, C) of the same regions.

        Returns:
            ``loss_region``.
        """
        log_probs = [self.student_log_probs(logits) for logits in student]
        targets = [self.teacher_probs(logits) for logits in teacher]
        losses = []
        for t, s in view_pairs(len(student), len(teacher)):
            match = match_regions(student_feats[s], teacher_feats[t])
            index = match.unsqueeze(-1).expand(-1, -1, self.out_channels)
            target = targets[t].gather(1, index)
            losses.append(-(target * log_probs[s]).sum(-1).mean())
        if self.training:
            self.update_center(torch.cat([t.flatten(0, 1) for t in teacher]))
        return dict(loss_region=torch.stack(losses).mean())


@torch.no_grad()
def match_regions(student: Tensor, teacher: Tensor) -> Tensor:
    """Index of the most similar teacher region for each student region.

    Args:
        student: Backbone features (B, T_s, C).
        teacher: Backbone features (B, T_t, C).

    Returns:
        Indices (B, T_s) into the teacher's regions, by cosine similarity.
    """
    student = F.normalize(upcast(student), dim=-1)
    teacher = F.normalize(upcast(teacher), dim=-1)
    return (student @ teacher.transpose(1, 2)).argmax(dim=-1)
