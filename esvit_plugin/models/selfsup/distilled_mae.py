"""D-MAE: masked autoencoders that learn the attention of a large one."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.selfsup import MAE, MAEViT
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...type_names import type_name
from ..backbones.mae_vit import MAELiteViT
from ..conversion.mae import encoder_weights, foreign_tensors
from ..frozen_teacher import FrozenTeacher


@MODELS.register_module()
class MAETeacher(FrozenTeacher):
    """A pre-trained encoder of MAE that shows the scores of its last block.

    Args:
        checkpoint: Path or URL of its weights, in the names of MAE, timm or MAE-lite,
            or of a checkpoint of this package or mmpretrain; or ``timm::NAME``.
            Weights of a decoder are left out. A file that shows that it is of another
            method, or of a ViT with another number of heads, is refused.
        backbone: Config of the encoder, a ``MAELiteViT``. Defaults to ViT-B.
    """

    def __init__(self, checkpoint: str, backbone: dict | None = None) -> None:
        super().__init__(checkpoint)
        backbone = dict(backbone or {})
        backbone.setdefault('type', 'MAELiteViT')
        self.backbone_cfg = backbone

    def build(self) -> nn.Module:
        """The encoder with any weights."""
        return MODELS.build(copy.deepcopy(self.backbone_cfg))

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's weights in mmpretrain's names."""
        return encoder_weights(weights)

    def check(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Refuse a ViT of another method or other heads, whose shapes are the same.

        Raises:
            ValueError: If the weights or the file's config say so.
        """
        from ...engine.head_counts import check_heads  # which imports the models

        foreign = foreign_tensors(weights)
        reason = f'it has {", ".join(foreign[:3])}' if foreign else ''
        if reason := reason or _stated_other(self.checkpoint):
            raise ValueError(
                f'The teacher {self.checkpoint} is no masked autoencoder: {reason}. '
                'Set model.target_generator.checkpoint to the pre-training of a MAE, '
                'or to its encoder alone.'
            )
        try:
            check_heads(network, self.checkpoint)
        except ValueError as error:
            raise ValueError(
                f'The teacher of model.target_generator.backbone: {error}'
            ) from error

    @torch.no_grad()
    def forward(self, inputs: Tensor, ids_shuffle: Tensor) -> Tensor:
        """Scores of the last block for the same patches of the same images.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).
            ids_shuffle: The order of their patches (B, L), the kept ones first.

        Returns:
            Tensor of shape (B, heads, 1 + K, 1 + K).
        """
        network = self.network_on(inputs.device)
        tokens, _, _ = network.encode_kept(inputs, ids_shuffle)
        return network.last_scores(tokens)


def _stated_other(checkpoint: str) -> str:
    """What a file says that it is of, '' if that is a MAE or not known."""
    from ...engine.head_counts import stated_backbone, stated_model

    for part, wanted in (
        (stated_model(checkpoint), MAE),
        (stated_backbone(checkpoint), MAEViT),
    ):
        name = type_name(part)
        kind = MODELS.get(name) if name else None
        # The encoder of any method may be kept as a plain ViT.
        if kind and kind is not VisionTransformer and not issubclass(kind, wanted):
            return f'its config is of a {name}'
    return ''


@MODELS.register_module()
class DistilledMAE(MAE):
    """MAE-lite with distillation (arXiv 2205.14443, Section 5).

    A frozen teacher sees the same kept patches of the same images. Its attention scores
    of the last block, before the softmax, are the target of the student's, which a
    1 x 1 convolution maps from the student's heads to the teacher's.

    Args:
        backbone: Config of the student, a ``MAELiteViT``.
        neck: Config of the decoder.
        head: Config of the head.
        target_generator: Config of the teacher, a ``MAETeacher``, whose weights are
            read from its ``checkpoint`` and not saved.
        distill_weight: Factor of the distillation loss. Defaults to 1.0.
        **kwargs: Other options of mmpretrain's ``MAE``.

    Raises:
        ValueError: If the teacher cuts images into another number of patches, or
            leaves out another share of them.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        target_generator: dict,
        distill_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            target_generator=target_generator,
            **kwargs,
        )
        self.distill_weight = distill_weight
        with torch.device('meta'):  # its sizes alone
            teacher: Any = self.target_generator.build()
        _check_same_patches(self.backbone, teacher)
        ours, theirs = (
            network.arch_settings['num_heads'] for network in (self.backbone, teacher)
        )
        self.attn_adapter = nn.Conv2d(ours, theirs, kernel_size=1, bias=False)

    def loss(
        self, inputs: Tensor, data_samples: list[DataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).
            data_samples: Unused.
            **kwargs: Unused.

        Returns:
            ``loss_pixel``, MAE's, and ``loss_attention``, the weighted mean squared
            error of the scores.
        """
        return self.score(inputs)

    def score(
        self, inputs: Tensor, ids_shuffle: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses as of :meth:`loss`, with an order of the patches that can be given."""
        tokens, mask, ids_restore = self.backbone.encode_kept(inputs, ids_shuffle)
        latent = self.backbone.finish(tokens)
        scores = self.attn_adapter(self.backbone.last_scores(tokens))
        target = self.target_generator(inputs, ids_restore.argsort(1))
        pred = self.neck(latent, ids_restore)
        return dict(
            loss_pixel=self.head.loss(pred, inputs, mask),
            loss_attention=self.distill_weight * F.mse_loss(scores, target),
        )


def _check_same_patches(student: MAELiteViT, teacher: MAELiteViT) -> None:
    for name in ('patch_resolution', 'mask_ratio'):
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            raise ValueError(
                f'DistilledMAE: the student has {name}={ours}, its teacher {theirs}; '
                'both must see the same patches. Set img_size, patch_size and '
                'mask_ratio of model.target_generator.backbone as of model.backbone.'
            )
