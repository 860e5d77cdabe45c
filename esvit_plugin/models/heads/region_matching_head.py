"""The region-level task L_R."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

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
        >>> regions = [49] * 2 + [9] * 8
        >>> student = [torch.randn(4, t, 8) for t in regions]
        >>> feats = [torch.randn(4, t, 24) for t in regions]
        >>> prototypes = torch.randn(16, 8)
        >>> losses = head.loss(
        ...     student, student[:2], feats, feats[:2], prototypes, prototypes)
        >>> sorted(losses)
        ['loss_region']
    """

    def loss(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        student_feats: Sequence[Tensor],
        teacher_feats: Sequence[Tensor],
        prototypes: Tensor,
        teacher_prototypes: Tensor,
        with_entropy: bool = False,
    ) -> dict[str, Tensor]:
        """Score the regions of student views against those of teacher views.

        Args:
            student: Bottleneck features (B, T_v, D) of the regions of every view,
                global views first; T_v differs between sizes of view.
            teacher: Bottleneck features (B, T, D) of the regions of the global
                views.
            student_feats: Backbone features (B, T_v, C) of the same regions.
            teacher_feats: Backbone features (B, T, C) of the same regions.
            prototypes: The student's prototypes (K, D).
            teacher_prototypes: The teacher's prototypes (K, D).
            with_entropy: Whether to return the entropy, too. Defaults to False.

        Returns:
            ``loss_region``, and if wanted ``teacher_entropy``, the mean entropy of the
            teacher's probabilities in nats.
        """
        regions, targets = torch.cat(list(student), 1), torch.cat(list(teacher), 1)
        loss, *entropy = self.cross_entropy(
            regions,
            targets,
            self._matches(student_feats, teacher_feats),
            self._weights(student, len(teacher)).expand(len(regions), -1, -1),
            prototypes,
            teacher_prototypes,
            with_entropy,
        )
        losses = dict(loss_region=loss)
        return dict(losses, teacher_entropy=entropy[0]) if entropy else losses

    @torch.no_grad()
    def _matches(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The region of each teacher view, among all, for each student region."""
        regions = torch.cat(list(student), 1)
        matches, first = [], 0
        for view in teacher:
            matches.append(first + match_regions(regions, view))
            first += view.shape[1]
        return torch.stack(matches, -1)

    def _weights(self, student: Sequence[Tensor], num_teacher: int) -> Tensor:
        """Weights (regions, teacher views) of the cross-entropies of an image."""
        pairs = pair_weights(len(student), num_teacher, self.center)
        return torch.cat(
            [
                (pair / view[..., 0].numel()).expand(view.shape[1], -1)
                for pair, view in zip(pairs, student, strict=True)
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
    student = F.normalize(upcast(student), dim=-1)
    teacher = F.normalize(upcast(teacher), dim=-1)
    return (student @ teacher.transpose(1, 2)).argmax(dim=-1)
