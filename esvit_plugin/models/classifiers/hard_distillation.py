"""DeiT's hard distillation of a ViT without a token for it (arXiv 2012.12877)."""

from typing import Any

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..frozen_teacher import FrozenTeacher


@MODELS.register_module()
class TIMMTeacher(FrozenTeacher):
    """A trained classifier of timm that names classes.

    Args:
        checkpoint: Path or URL of its weights, or ``timm::NAME``.
        model_name: Which model of timm they are of. Defaults to 'regnety_160', DeiT's.
        num_classes: Number of its classes. Defaults to 1000.
    """

    def __init__(
        self, checkpoint: str, model_name: str = 'regnety_160', num_classes: int = 1000
    ) -> None:
        super().__init__(checkpoint)
        self.model_name = model_name
        self.num_classes = num_classes

    def build(self) -> nn.Module:
        """The classifier with any weights."""
        import timm

        return timm.create_model(self.model_name, num_classes=self.num_classes)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """The class (B,) of each normalised image (B, 3, H, W)."""
        return self.network_on(inputs.device)(inputs).argmax(1)


@MODELS.register_module()
class DistilledLinearClsHead(LinearClsHead):
    """Two linear heads with norms of their own, whose predictions are averaged.

    One sees the mean of the patch tokens and learns the label; the other sees the class
    token and learns what the teacher says. mmpretrain's ``DeiTClsHead`` has a token for
    that, which a pre-trained MAE lacks, and is not trained.

    Args:
        num_classes: Number of classes.
        in_channels: Width of the tokens.
        norm_cfg: Config of the norms. Defaults to ``dict(type='LN', eps=1e-6)``.
        distill_weight: Share of the teacher's loss; the label's has the rest.
            Defaults to 0.5.
        **kwargs: Other options of ``LinearClsHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        norm_cfg: dict | None = None,
        distill_weight: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        norm_cfg = norm_cfg or dict(type='LN', eps=1e-6)
        self.distill_weight = distill_weight
        self.norm = build_norm_layer(norm_cfg, in_channels)
        self.norm_dist = build_norm_layer(norm_cfg, in_channels)
        self.fc_dist = nn.Linear(in_channels, num_classes)

    def scores(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Logits (B, K) of the patches and of the class token.

        Args:
            feats: Tokens (B, 1 + T, C) of each stage, the class token first; the last
                stage counts.
        """
        tokens = feats[-1]
        patches = self.norm(tokens[:, 1:].mean(1))
        return self.fc(patches), self.fc_dist(self.norm_dist(tokens[:, 0]))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The mean of both, shape (B, K)."""
        label, teacher = self.scores(feats)
        return (label + teacher) / 2

    def loss(
        self,
        feats: tuple[Tensor, ...],
        data_samples: list[DataSample],
        teacher_labels: Tensor,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Losses of labels and teacher.

        Args:
            feats: As for :meth:`scores`.
            data_samples: They have the labels, which may be mixed.
            teacher_labels: What the teacher says of the same images, shape (B,).
            **kwargs: For the loss of the labels.

        Returns:
            ``loss_label`` and ``loss_teacher``, weighted.
        """
        label, teacher = self.scores(feats)
        loss = self._get_loss(label, data_samples, **kwargs)['loss']
        hard = nn.functional.cross_entropy(teacher, teacher_labels)
        return dict(
            loss_label=(1 - self.distill_weight) * loss,
            loss_teacher=self.distill_weight * hard,
        )


@MODELS.register_module()
class HardDistilledClassifier(ImageClassifier):
    """A classifier that learns labels and the classes that a teacher names.

    Args:
        teacher: Config of a ``TIMMTeacher``, which sees the same images.
        **kwargs: Options of ``ImageClassifier``; the head is a
            ``DistilledLinearClsHead``, and the backbone gives all tokens, not
            normalised.
    """

    def __init__(self, *, teacher: dict, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.distill_teacher = MODELS.build(teacher)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses of a batch of normalised images (B, 3, H, W)."""
        labels = self.distill_teacher(inputs)
        return self.head.loss(self.extract_feat(inputs), data_samples, labels)
