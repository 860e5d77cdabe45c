"""The vision transformer of MAE-lite: fixed positions, kept patches by choice."""

from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import MAEViT
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from mmpretrain.registry import MODELS
from torch import Tensor

from ...type_names import loads_weights
from ..layers.attention_scores import vit_scores


def mae_positions(side: int, width: int) -> Tensor:
    """MAE's fixed sin-cos position embedding (arXiv 2111.06377, appendix A.1).

    Args:
        side: Number of patches in a row and in a column.
        width: Channels, a multiple of 4.

    Returns:
        Tensor of shape (1, 1 + side^2, width); first that of the class token, 0. The
        first half of the channels is of the column, the second of the row: mmpretrain
        has them the other way round, as MoCo v3.
    """
    positions = build_2d_sincos_position_embedding(side, width, cls_token=True)
    return positions.roll(width // 2, -1)


@MODELS.register_module()
class MAELiteViT(MAEViT):
    """mmpretrain's ``MAEViT`` as MAE-lite (arXiv 2205.14443) has it.

    Same layers, options and parameter names. The positions are MAE's, weights of a
    ``Pretrained`` in ``init_cfg`` are kept, ``mask=False`` hides nothing, the kept
    patches can be given, and the scores of the last block are there to be distilled.

    Args:
        arch: As for ``VisionTransformer``. MAE-lite's ViT-Tiny and Small have 12 heads
            and are given as a dict; 'deit-tiny' and 'deit-small' have 3 and 6.
            Defaults to 'base'.
        **kwargs: Other options of ``MAEViT``.

    Example:
        >>> arch = dict(
        ...     embed_dims=192, num_layers=12, num_heads=12, feedforward_channels=768
        ... )
        >>> latent, mask, ids_restore = MAELiteViT(arch)(images)
        >>> latent.shape  # a quarter of 196 patches, and the class token
        torch.Size([2, 50, 192])
    """

    def __init__(self, arch: str | dict = 'base', **kwargs: Any) -> None:
        super().__init__(arch, **kwargs)
        height, width = self.patch_resolution
        if height != width:
            raise ValueError(
                f'MAELiteViT: img_size={self.img_size} gives {height} x {width} '
                'patches; masked images are squares, so give one number.'
            )

    def init_weights(self) -> None:
        """Draw the weights, or load those of a ``Pretrained`` in ``init_cfg``."""
        loads = loads_weights(self.init_cfg)
        if not loads:
            super().init_weights()
        positions = mae_positions(self.patch_resolution[0], self.embed_dims)
        self.pos_embed.data.copy_(positions)
        if loads:
            # MAEViT's own method would draw some of them anew, as VisionTransformer's
            # would the positions of a list.
            BaseModule.init_weights(self)

    def random_masking(
        self, x: Tensor, mask_ratio: float = 0.75, ids_shuffle: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep some patches of each image.

        Args:
            x: Tokens of all patches, shape (B, L, C).
            mask_ratio: Share of the patches that is left out. Defaults to 0.75.
            ids_shuffle: An order of the patches of each image, shape (B, L), of which
                the first are kept. Defaults to None: a random one.

        Returns:
            Tokens (B, K, C) of the kept patches in that order; the mask (B, L), 1 where
            a patch is left out; and the places (B, L) of all patches in the order,
            ``ids_shuffle.argsort()``.
        """
        batch, length, width = x.shape
        if ids_shuffle is None:
            ids_shuffle = torch.rand(batch, length, device=x.device).argsort(1)
        ids_restore = ids_shuffle.argsort(1)
        number = int(length * (1 - mask_ratio))
        kept = ids_shuffle[:, :number, None].expand(-1, -1, width)
        mask = (ids_restore >= number).float()
        return x.gather(1, kept), mask, ids_restore

    def forward(
        self,
        x: Tensor,
        mask: bool | None = True,
        ids_shuffle: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Encode a part of the patches, or whole images.

        Args:
            x: Normalised images, shape (B, 3, H, W).
            mask: Whether to leave patches out. Defaults to True. With False or None
                the result is that of ``VisionTransformer``.
            ids_shuffle: As for :meth:`random_masking`.

        Returns:
            Normalised tokens (B, 1 + K, C), the class token first; mask and
            ``ids_restore`` as of :meth:`random_masking`.
        """
        if not mask:
            return super().forward(x, mask=None)
        tokens, mask_, ids_restore = self.encode_kept(x, ids_shuffle)
        return self.finish(tokens), mask_, ids_restore

    def encode_kept(
        self, x: Tensor, ids_shuffle: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same up to the last block: what goes into it, not normalised."""
        patches = self.patch_embed(x)[0] + self.pos_embed[:, 1:]
        kept, mask, ids_restore = self.random_masking(
            patches, self.mask_ratio, ids_shuffle
        )
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        tokens = torch.cat([first, kept], 1)
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        return tokens, mask, ids_restore

    def finish(self, tokens: Tensor) -> Tensor:
        """Last block and norm of the tokens of :meth:`encode_kept`."""
        return self.norm1(self.layers[-1](tokens))

    def last_scores(self, tokens: Tensor) -> Tensor:
        """Attention scores of the last block, before the softmax.

        Args:
            tokens: What goes into it, from :meth:`encode_kept`.

        Returns:
            Tensor of shape (B, heads, 1 + K, 1 + K).
        """
        last = self.layers[-1]
        return vit_scores(last.attn, last.ln1(tokens))
