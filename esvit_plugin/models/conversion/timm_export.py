"""Backbones of this package as models of timm."""

import re
from collections import OrderedDict
from typing import Any

from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.selfsup import MAEViT, MoCoV3ViT
from torch import Tensor, nn

from ..backbones.dino_vit import DINOVisionTransformer
from ..backbones.mae_vit import MAELiteViT
from ..backbones.mocov3_vit import MoCoV3VisionTransformer
from ..backbones.swin import EsViTSwin
from .renames import SWIN, VIT, to_theirs
from .swin import released_merge_order

# What timm's models of these names are, apart from 224 px.
_SWIN_MODELS = {
    f'swin_{size}_patch4_window7_224': dict(
        embed_dim=width, depths=depths, num_heads=heads, patch_size=4, window_size=7
    )
    for size, width, depths, heads in (
        ('tiny', 96, (2, 2, 6, 2), (3, 6, 12, 24)),
        ('small', 96, (2, 2, 18, 2), (3, 6, 12, 24)),
        ('base', 128, (2, 2, 18, 2), (4, 8, 16, 32)),
        ('large', 192, (2, 2, 18, 2), (6, 12, 24, 48)),
    )
}
_VIT_MODELS = {
    f'deit_{size}_patch16_224': dict(
        embed_dim=width, depth=12, num_heads=heads, mlp_ratio=4.0, patch_size=16
    )
    for size, width, heads in (('tiny', 192, 3), ('small', 384, 6), ('base', 768, 12))
}

# Plain ViTs, which differ in what they are trained for alone.
_VITS = (
    *(VisionTransformer, DINOVisionTransformer, MoCoV3VisionTransformer),
    *(MoCoV3ViT, MAEViT, MAELiteViT),
)


def to_timm(backbone: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Write a Swin or a ViT in timm's names.

    Args:
        backbone: An ``EsViTSwin``, mmpretrain's ``VisionTransformer`` or one of its
            kinds for DINO, MoCo v3 or MAE.

    Returns:
        Arguments of ``timm.create_model``, and the state dict that the model it
        makes loads strictly.

    Raises:
        ValueError: If timm has no such model.
    """
    if isinstance(backbone, EsViTSwin):
        return _swin_arguments(backbone), _swin_weights(backbone)
    if isinstance(backbone, VisionTransformer) and type(backbone) in _VITS:
        _check_plain(backbone)
        return _vit_arguments(backbone), _vit_weights(backbone)
    raise ValueError(
        f'timm has no equal of {type(backbone).__name__}; only an EsViTSwin or a '
        'plain VisionTransformer (DeiT, MoCo v3, MAE) can be written for it.'
    )


def _check_plain(backbone: VisionTransformer) -> None:
    """Refuse a ViT with options that timm's lacks."""
    options = {
        'conv_stem=True': getattr(backbone, 'conv_stem', False),
        'with_cls_token=False': backbone.cls_token is None,
        'final_norm=False': not backbone.final_norm,
        # It normalises the mean of the patches.
        "out_type='avg_featmap'": backbone.out_type == 'avg_featmap',
    }
    if lacking := [option for option, is_set in options.items() if is_set]:
        raise ValueError(
            f'timm has no equal of this {type(backbone).__name__} with '
            f'{", ".join(lacking)}; only plain ViTs with a class token, whose tokens '
            'are normalised, can be written for it.'
        )


def _arguments(
    models: dict[str, dict[str, Any]],
    settings: dict[str, Any],
    sides: tuple[int, int],
) -> dict[str, Any]:
    """The model of timm that needs the fewest other arguments, and these."""

    def others(name: str) -> dict[str, Any]:
        return {k: v for k, v in settings.items() if models[name][k] != v}

    name = min(models, key=lambda name: len(others(name)))
    arguments = dict(model_name=name, num_classes=0, **others(name))
    if sides == (224, 224):
        return arguments
    return dict(arguments, img_size=sides[0] if sides[0] == sides[1] else sides)


def _swin_arguments(backbone: EsViTSwin) -> dict[str, Any]:
    settings = dict(
        embed_dim=backbone.embed_dims,
        depths=tuple(backbone.depths),
        num_heads=tuple(backbone.num_heads),
        patch_size=backbone.patch_size,
        # The first stage has the largest map, so its window is not a shrunken one.
        window_size=backbone.stages[0].blocks[0].attn.window_size,
    )
    height, width = backbone.patch_embed.init_input_size
    last = min(height, width) // backbone.patch_size // 2 ** (backbone.num_layers - 1)
    if height != width and last <= settings['window_size']:
        raise ValueError(
            f'timm has no equal of this EsViTSwin: at img_size={(height, width)} its '
            'last window is the square of the shorter side of the map, that of timm '
            'the whole oblong map. Give one number as img_size of the config.'
        )
    return _arguments(_SWIN_MODELS, settings, (height, width))


def _swin_weights(backbone: EsViTSwin) -> dict[str, Tensor]:
    last_norm = f'norm{backbone.num_layers - 1}.'
    converted: dict[str, Tensor] = OrderedDict()
    for name, value in backbone.state_dict().items():
        if name.endswith('relative_position_index'):
            continue  # timm computes it
        if re.match(r'norm\d\.', name):
            if not name.startswith(last_norm):
                continue  # of the earlier stages, which timm does not have
            name = name.replace(last_norm, 'norm.')
        merging = re.match(r'stages\.(\d+)\.downsample\.(.+)', name)
        if merging:
            name = f'layers.{int(merging[1]) + 1}.downsample.{merging[2]}'
            value = released_merge_order(value)
        converted[to_theirs(name, SWIN)] = value
    return converted


def _vit_arguments(backbone: VisionTransformer) -> dict[str, Any]:
    arch = backbone.arch_settings
    settings = dict(
        embed_dim=arch['embed_dims'],
        depth=arch['num_layers'],
        num_heads=arch['num_heads'],
        mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'],
        patch_size=backbone.patch_embed.projection.kernel_size[0],
    )
    return _arguments(_VIT_MODELS, settings, tuple(backbone.img_size))


def _vit_weights(backbone: VisionTransformer) -> dict[str, Tensor]:
    converted: dict[str, Tensor] = OrderedDict()
    for name, value in backbone.state_dict().items():
        converted[to_theirs(name, VIT)] = value
    return converted
