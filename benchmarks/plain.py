"""The plain version of what this package makes fast."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from esvit_plugin.models import EsViT, EsViTSwin, plain_twins


class PlainHead(BaseModule):
    """Losses from logits, pair by pair, as the released programs compute them.

    Args:
        out_channels: Number of prototypes.
    """

    def __init__(self, out_channels: int, **_: Any) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.register_buffer('center', torch.zeros(1, out_channels))

    def probs(self, teacher: Sequence[Tensor]) -> list[Tensor]:
        """The teacher's probabilities of each view."""
        return [((t - self.center) / 0.04).softmax(-1).detach() for t in teacher]

    def move_center(self, teacher: Sequence[Tensor]) -> None:
        """Follow the mean logits."""
        mean = torch.cat([t.flatten(0, -2) for t in teacher]).mean(0, keepdim=True)
        self.center.mul_(0.9).add_(mean, alpha=0.1)


class PlainViewHead(PlainHead):
    """L_V."""

    def loss(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Score logits (B, K) of all views with those of the global ones."""
        student = [logits / 0.1 for logits in student]
        losses = []
        for i, target in enumerate(self.probs(teacher)):
            for v, logits in enumerate(student):
                if v != i:
                    loss = (-target * F.log_softmax(logits, dim=-1)).sum(-1)
                    losses.append(loss.mean())
        self.move_center(teacher)
        return sum(losses) / len(losses)


class PlainRegionHead(PlainHead):
    """L_R."""

    def loss(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        student_feats: Sequence[Tensor],
        teacher_feats: Sequence[Tensor],
    ) -> Tensor:
        """Score logits (B, T, K) of all views' regions with the global views'."""
        student = [logits / 0.1 for logits in student]
        losses = []
        for i, target in enumerate(self.probs(teacher)):
            for v, logits in enumerate(student):
                if v == i:
                    continue
                ours = F.normalize(student_feats[v], dim=-1)
                theirs = F.normalize(teacher_feats[i], dim=-1)
                match = (ours @ theirs.transpose(1, 2)).argmax(-1, keepdim=True)
                matched = target.gather(1, match.expand(-1, -1, target.shape[-1]))
                loss = (-matched * F.log_softmax(logits, dim=-1)).sum(-1)
                losses.append(loss.mean())
        self.move_center(teacher)
        return sum(losses) / len(losses)


class PlainEsViT(EsViT):
    """``EsViT`` with the plain heads."""

    def loss(self, inputs: Sequence[Tensor], data_samples: Any = None) -> dict:
        """Losses from the logits of all views and regions."""
        groups = self._group_views(inputs)
        views, regions = self._encode_groups(groups, 'student')
        with torch.no_grad():
            teacher = self._encode_groups(groups[:1], 'teacher')
        losses = plain_losses(self, (views, regions), teacher)
        return {name: 0.5 * loss for name, loss in losses.items()}


def plain_losses(model: EsViT, student: Any, teacher: Any) -> dict[str, Tensor]:
    """Losses of (views, regions) by the plain heads of a model."""
    losses = {}
    for name, neck, head, place in (
        ('loss_view', 'neck', model.head, 0),
        ('loss_region', 'region_neck', model.region_head, 1),
    ):
        scored = [logits(getattr(model, neck), student[place])]
        with torch.no_grad():
            scored.append(logits(model.teacher[neck], teacher[place]))
        feats = (student[1], teacher[1]) if place else ()
        losses[name] = head.loss(*scored, *feats)
    return losses


def logits(neck: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
    """Logits of all views, in one call of a neck."""
    out = neck(torch.cat([view.flatten(0, -2) for view in views]))
    parts = out.split([view[..., 0].numel() for view in views])
    return [p.view(*v.shape[:-1], -1) for p, v in zip(parts, views, strict=True)]


def in_plain(step: Callable[[], None]) -> Callable[[], None]:
    """A step that runs the plain twins."""

    def plain_step() -> None:
        with plain_twins():
            step()

    return plain_step


def plain_model(cfg: dict) -> EsViT:
    """The model of a config with plain heads; its steps belong into ``in_plain``."""
    cfg = {k: dict(v) if isinstance(v, dict) else v for k, v in cfg.items()}
    cfg.pop('type')
    backbone = cfg.pop('backbone')
    backbone.pop('type')
    cfg['head'] = PlainViewHead(**cfg['head'])
    cfg['region_head'] = PlainRegionHead(**cfg['region_head'])
    return PlainEsViT(backbone=EsViTSwin(**backbone), **cfg)
