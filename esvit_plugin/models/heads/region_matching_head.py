"""The region-level task L_R."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from ..plain import use_plain
from ..utils import upcast
from .base import SelfDistillationHead, pair_weights


@MODELS.register_module()
class RegionMatchingHead(SelfDistillationHead):
    r"""Cross-entropy between matched regions of views, L_R (Section 3.2, eq. 2).

    For every teacher view i and every other student view v, each student region is
    matched with the teacher region whose *backbone* features are most similar
    (cosine), and takes that region's teacher probability as its target. The
    cross-entropies are averaged over regions, images and pairs of views. After
    each call in training mode the centre moves towards the mean teacher logits of
    all regions.

    The logits are products of bottleneck features and prototypes; they are taken
    block by block (:func:`blockwise_cross_entropy`) and never all held.

    Args and errors are those of :class:`SelfDistillationHead`.

    Example:
        >>> import torch
        >>> from esvit_plugin.models import RegionMatchingHead
        >>> head = RegionMatchingHead(out_channels=16)
        >>> sizes = (2, 49), (8, 9)  # views, and regions of each
        >>> student = [torch.randn(4, *size, 8) for size in sizes]
        >>> feats = [torch.randn(4, *size, 24) for size in sizes]
        >>> prototypes = torch.randn(16, 8)
        >>> losses = head.loss(
        ...     student=student,
        ...     teacher=student[0],
        ...     student_feats=feats,
        ...     teacher_feats=feats[0],
        ...     prototypes=prototypes,
        ...     teacher_prototypes=prototypes,
        ... )
        >>> sorted(losses)
        ['loss_region', 'region_entropy', 'region_prototypes_used']
    """

    def loss(
        self,
        *,
        student: Sequence[Tensor],
        teacher: Tensor,
        student_feats: Sequence[Tensor],
        teacher_feats: Tensor,
        prototypes: Tensor,
        teacher_prototypes: Tensor,
    ) -> dict[str, Tensor]:
        """Score the regions of student views against those of teacher views.

        Args:
            student: Bottleneck features (B, n, T_v, D) of the regions of the views of
                each size; first the teacher's views, in the same order.
            teacher: Bottleneck features (B, m, T, D) of the regions of the global
                views.
            student_feats: Backbone features (B, n, T_v, C) of the same regions.
            teacher_feats: Backbone features (B, m, T, C) of the same regions.
            prototypes: The student's prototypes (K, D).
            teacher_prototypes: The teacher's prototypes (K, D).

        Returns:
            ``loss_region``; ``region_entropy``, the mean entropy of the teacher's
            probabilities in nats, between 0 (one prototype) and ln K (uniform); and
            ``region_prototypes_used``, to how many prototypes all of them go, between 1
            and K (the exponential of the entropy of their mean).

        Raises:
            ValueError: If the features have other shapes, or a view has no partner.
        """
        self._check(student, teacher, 4)
        matrices: dict[str, Any] = dict(
            prototypes=prototypes, teacher_prototypes=teacher_prototypes
        )
        if use_plain():
            views = [view for size in student_feats for view in size.unbind(1)]
            losses = self.plain_cross_entropy(
                student,
                teacher,
                match=lambda v, i: match_regions(views[v], teacher_feats[:, i]),
                **matrices,
            )
        else:
            regions = torch.cat([x.flatten(1, 2) for x in student], 1)
            weights = self._weights(student, teacher.shape[1]) / len(regions)
            losses = self.cross_entropy(
                regions,
                teacher.flatten(1, 2),
                targets=self._matches(student_feats, teacher_feats),
                weights=weights.expand(len(regions), -1, -1),
                **matrices,
            )
        names = 'loss_region', 'region_entropy', 'region_prototypes_used'
        return dict(zip(names, losses, strict=True))

    @torch.no_grad()
    def _matches(self, student: Sequence[Tensor], teacher: Tensor) -> Tensor:
        """The region of each teacher view, among all, for each student region."""
        regions = torch.cat([x.flatten(1, 2) for x in student], 1)
        matches = [match_regions(regions, view) for view in teacher.unbind(1)]
        num_regions = teacher.shape[2]
        return torch.stack([i * num_regions + m for i, m in enumerate(matches)], -1)

    def _weights(self, student: Sequence[Tensor], num_global: int) -> Tensor:
        """Weights (regions, teacher views) of the cross-entropies of an image."""
        sizes = [view_size.shape[1:3] for view_size in student]
        pairs = pair_weights(sum(n for n, _ in sizes), num_global, self.center)
        return torch.cat(
            [
                (part / num_regions).repeat_interleave(num_regions, 0)
                for part, (_, num_regions) in zip(
                    pairs.split([n for n, _ in sizes]), sizes, strict=True
                )
            ]
        )


@torch.no_grad()
def match_regions(student: Tensor, teacher: Tensor) -> Tensor:
    """Index of the most similar teacher region for each student region.

    Args:
        student: Backbone features (B, T_s, C).
        teacher: Backbone features (B, T_t, C).

    Returns:
        Indices (B, T_s) into the teacher's regions, by cosine similarity.
    """
    # Half-precision similarities tie, and argmax then takes the first.
    with torch.autocast(student.device.type, enabled=False):
        student = F.normalize(upcast(student), dim=-1)
        teacher = F.normalize(upcast(teacher), dim=-1)
        return (student @ teacher.transpose(1, 2)).argmax(dim=-1)
