"""The vision transformer of MoCo v3, with the switches of its paper."""

from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from mmpretrain.registry import MODELS
from torch import nn

from ...type_names import loads_weights
from .frozen_vit import FreezableVisionTransformer

POSITIONS = ('sincos', 'learned', 'none')


def _arch(width: int, depth: int, heads: int) -> dict[str, int]:
    return dict(
        embed_dims=width,
        num_layers=depth,
        num_heads=heads,
        feedforward_channels=4 * width,
    )


@MODELS.register_module()
class MoCoV3VisionTransformer(FreezableVisionTransformer):
    """ViT of MoCo v3 (arXiv 2104.02057), as of its program.

    mmpretrain's ``MoCoV3ViT`` has the same weights, names and initial values; it lacks
    the switches of the paper's ablations, and fixes the positions only after DDP has
    counted them among the trained. Queries, keys and values begin Xavier-uniform each
    on their own, the patch projection Xavier-uniform of fan-in 3 x 16 x 16, the class
    token with std 1e-6. Archs besides mmpretrain's: 'mocov3-tiny' and 'mocov3-small'
    with 12 heads, where DeiT has 3 and 6, and 'mocov3-conv-small' and
    'mocov3-conv-base' of 11 blocks for ``conv_stem``.

    Args:
        arch: As for ``VisionTransformer``, or one of those above.
        position: 'sincos' (fixed), 'learned' (from a normal of std 0.02) or 'none'.
            Defaults to 'sincos'.
        stop_grad_conv1: Keep the patch projection at its random values, the paper's
            stable training (Section 4.2). Defaults to False, as mmpretrain.
        conv_stem: Four 3 x 3 convolutions of stride 2 with batch norm and ReLU, from an
            eighth of the width, and one of 1 x 1, in place of the patch projection.
            Defaults to False.
        **kwargs: As for ``VisionTransformer``. ``with_cls_token=False``,
            ``out_type='featmap'`` with or without ``final_norm`` are the paper's 'LN +
            pool' and 'pool', which the neck pools.

    Raises:
        ValueError: If ``position`` is another one, ``conv_stem`` is to be frozen, or
            the patches of it are not 16 pixels wide.
    """

    # Not mmpretrain's table, which is that of all of its ViTs.
    arch_zoo = {
        **FreezableVisionTransformer.arch_zoo,
        **dict.fromkeys(['mocov3-t', 'mocov3-tiny'], _arch(192, 12, 12)),
        **dict.fromkeys(['mocov3-s', 'mocov3-small'], _arch(384, 12, 12)),
        'mocov3-conv-small': _arch(384, 11, 12),
        'mocov3-conv-base': _arch(768, 11, 12),
    }

    def __init__(
        self,
        arch: str | dict = 'base',
        position: str = 'sincos',
        stop_grad_conv1: bool = False,
        conv_stem: bool = False,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        if position not in POSITIONS:
            raise ValueError(
                f'{name}: position must be one of {POSITIONS}, got {position!r}.'
            )
        if conv_stem and stop_grad_conv1:
            raise ValueError(
                f'{name}: stop_grad_conv1 is for the patch projection, not for '
                'conv_stem, which the paper trains; set one of them.'
            )
        super().__init__(arch, **kwargs)
        self.position = position
        self.conv_stem = conv_stem
        if conv_stem:
            if kwargs.get('patch_size', 16) != 16:
                raise ValueError(
                    f'{name}: conv_stem makes patches of 16 pixels, not of '
                    f'{kwargs["patch_size"]}.'
                )
            self.patch_embed.projection = _conv_stem(
                kwargs.get('in_channels', 3), self.embed_dims
            )
        if stop_grad_conv1:
            self.patch_embed.projection.requires_grad_(False)
        if position != 'learned':
            self.pos_embed.requires_grad_(False)
        self._set_positions()
        # Freezes the stem, too, which was made last.
        self.train()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw the initial weights, or load those of ``init_cfg``."""
        # Past VisionTransformer's, which draws positions.
        BaseModule.init_weights(self)
        if loads_weights(self.init_cfg):
            return
        self._set_positions()
        if not self.conv_stem:
            projection = self.patch_embed.projection
            nn.init.xavier_uniform_(projection.weight.view(self.embed_dims, -1))
            nn.init.zeros_(projection.bias)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                # As one matrix they would begin smaller.
                parts = module.weight.chunk(3) if 'qkv' in name else [module.weight]
                for part in parts:
                    nn.init.xavier_uniform_(part)
                nn.init.zeros_(module.bias)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=1e-6)

    @torch.no_grad()
    def _set_positions(self) -> None:
        if self.position == 'learned':
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        elif self.position == 'sincos':
            self.pos_embed.copy_(
                build_2d_sincos_position_embedding(
                    self.patch_resolution,
                    self.embed_dims,
                    cls_token=self.cls_token is not None,
                )
            )
        else:
            self.pos_embed.zero_()


def _conv_stem(in_channels: int, width: int) -> nn.Sequential:
    """Layers by the order, and so the numbers, of the program."""
    layers: list[nn.Module] = []
    for out_channels in (width // 8, width // 4, width // 2, width):
        layers += [
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
        in_channels = out_channels
    return nn.Sequential(*layers, nn.Conv2d(width, width, 1))
