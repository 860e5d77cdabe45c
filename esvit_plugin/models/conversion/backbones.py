"""Backbone weights of the authors' program: which backbone, and in what names."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any, NamedTuple

import torch
from mmpretrain.models.backbones import ResNet, VisionTransformer
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from mmpretrain.registry import MODELS
from torch import Tensor

from ..backbones.cvt import CvT
from ..backbones.mocov3_vit import MoCoV3VisionTransformer
from ..backbones.swin import EsViTSwin
from ..backbones.vil import ViL
from .cvt import cvt_from_released
from .names import MARKERS
from .renames import VIT, to_ours
from .swin import swin_from_released
from .vil import vil_from_released

Weights = Mapping[str, Tensor]
# What to do about weights that do not fit.
ARCH = 'Pass another --arch, if the weights are of one.'
# The last layer of MoCo v3's convolutional stem.
_STEM_END = 'patch_embed.proj.12.weight'
# What Swins are made for where nothing is said.
_IMG_SIZE = 224
# ViT-Tiny, Small, Base and Large; huge ones have other heads.
_VIT_WIDTHS = (192, 384, 768, 1024)

# The authors' architectures by the name that --arch takes.
RELEASED_ARCHS: dict[str, dict[str, Any]] = {
    **{
        f'swin_{arch}{suffix}': dict(type='EsViTSwin', arch=arch, window_size=window)
        for arch in ('tiny', 'small', 'base', 'large')
        for suffix, window in (('', 7), ('_w14', 14))
    },
    'vil_tiny': dict(type='ViL', arch='tiny'),
    'vil_small': dict(type='ViL', arch='small'),
    'cvt_tiny': dict(type='CvT', arch='tiny'),
    'cvt_small': dict(type='CvT', arch='small'),
    'deit_tiny': dict(type='VisionTransformer', arch='deit-tiny', out_type='raw'),
    'deit_small': dict(type='VisionTransformer', arch='deit-small', out_type='raw'),
    'deit_base': dict(type='VisionTransformer', arch='deit-base', out_type='raw'),
    **{
        f'mocov3_{size}': dict(
            type='VisionTransformer',
            # Not DeiT's: 12 heads. A name would ask for a class of its own.
            arch=MoCoV3VisionTransformer.arch_zoo[f'mocov3-{size}'],
            out_type='raw',
        )
        for size in ('tiny', 'small')
    },
    'resnet50': dict(type='ResNet', depth=50),
}


class _Family(NamedTuple):
    """How to describe and rename one family of backbones."""

    convert: Callable[[Weights], dict[str, Tensor]]
    config: Callable[[Weights], dict[str, Any]]


def backbone_from_released(
    state_dict: Weights, arch: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Recognise the backbone of the authors' program and rename its weights.

    Args:
        state_dict: Backbone weights by released name (no ``module.`` prefix).
        arch: A name of ``RELEASED_ARCHS``. Defaults to None: found from the names
            and shapes of the weights.

    Returns:
        Config of the backbone, and its weights in the names of that backbone. Names
        that are not known are passed on, so that a strict load reports them.

    Raises:
        ValueError: If the backbone is none of the authors' program, or ``arch`` is
            unknown or of another family.
    """
    kind = _find_kind(state_dict)
    family = _FAMILIES[kind]
    if arch is None:
        config = _read_config(family, state_dict, kind)
        settings = config.get('arch')
        if isinstance(settings, dict) and 'depths' in settings:
            config['out_indices'] = (len(settings['depths']) - 1,)
        return config, family.convert(state_dict)
    if arch not in RELEASED_ARCHS:
        raise ValueError(
            f'There is no arch {arch!r}; choose one of {sorted(RELEASED_ARCHS)}.'
        )
    config = RELEASED_ARCHS[arch]
    if config['type'] != kind:
        raise ValueError(
            f'The weights are those of a {kind} (they have {MARKERS[kind]}), not of '
            f'{arch}, a {config["type"]}.'
        )
    return dict(config), family.convert(state_dict)


def rename_released(state_dict: Weights) -> dict[str, Tensor]:
    """Weights of the authors' program in the names here, whatever their sizes.

    Args:
        state_dict: Backbone weights by released name.

    Raises:
        ValueError: If the backbone is none of the authors' program.
    """
    return _FAMILIES[_find_kind(state_dict)].convert(state_dict)


def _find_kind(state_dict: Weights) -> str:
    kinds = [kind for kind, name in MARKERS.items() if name in state_dict]
    if not kinds:
        raise ValueError(
            "These are not the weights of a backbone of the authors' program (Swin, "
            f'ViL, CvT, DeiT or ResNet): they begin with {list(state_dict)[:3]}.'
        )
    return kinds[0]


def _read_config(family: _Family, state_dict: Weights, kind: str) -> dict[str, Any]:
    try:
        return family.config(state_dict)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"They look like the weights of a {kind}, but not of the programs': there "
            f'is no {error.args[0] if error.args else "such tensor"}.'
        ) from error


def check_fit(config: dict[str, Any], weights: Weights, remedy: str = ARCH) -> None:
    """Refuse weights that the model of ``config`` would not load strictly.

    Args:
        config: Config of a backbone or a model.
        weights: Weights in its names.
        remedy: What the message ends with. Defaults to another ``--arch``.

    Raises:
        ValueError: If a weight is missing, unknown or of another shape; the message
            names it.
    """
    expected = {
        name: value.shape
        for name, value in MODELS.build(config).state_dict().items()
        if not name.startswith('data_preprocessor.')
    }
    problems = {
        'missing': [
            name
            for name in expected
            # Old checkpoints lack the counter; torch starts it at 0.
            if name not in weights and not name.endswith('num_batches_tracked')
        ],
        'unknown': [name for name in weights if name not in expected],
        'of another shape': [
            f'{name} {tuple(weights[name].shape)} instead of {tuple(shape)}'
            for name, shape in expected.items()
            if name in weights and weights[name].shape != shape
        ],
    }
    misfits = [f'{kind}: {_list(names)}' for kind, names in problems.items() if names]
    if misfits:
        raise ValueError(
            f'The weights do not fit {config.get("backbone", config)}; '
            f'{"; ".join(misfits)}. {remedy}'
        )


def _list(names: Iterable[str], limit: int = 20) -> str:
    names = list(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def _depths(state_dict: Weights, pattern: str) -> list[int]:
    """Number of blocks by stage; ``pattern`` captures the stage and the block."""
    matches = [re.match(pattern, name) for name in state_dict]
    pairs = {(int(m[1]), int(m[2])) for m in matches if m}
    stages = sorted({stage for stage, _ in pairs})
    return [len([1 for s, _ in pairs if s == stage]) for stage in stages]


def _zoo_name(zoo: Mapping[str, dict], settings: dict) -> str | dict:
    """Longest name of the settings in a backbone's ``arch_zoo``, else the settings."""
    names = [
        name
        for name, known in zoo.items()
        if all(known[key] == value for key, value in settings.items())
    ]
    return max(names, key=len, default=settings)


def _side(state_dict: Weights, name: str) -> int:
    """Number of offsets along an axis that a bias table covers."""
    return round(len(state_dict[name]) ** 0.5)


def _swin_config(state_dict: Weights) -> dict[str, Any]:
    depths = _depths(state_dict, r'layers\.(\d+)\.blocks\.(\d+)\.norm1\.weight')
    tables = [
        f'layers.{i}.blocks.0.attn.relative_position_bias_table'
        for i in range(len(depths))
    ]
    patch = state_dict['patch_embed.proj.weight']
    settings = dict(
        embed_dims=patch.shape[0],
        depths=depths,
        num_heads=[state_dict[table].shape[1] for table in tables],
    )
    first, *_, last = [(_side(state_dict, table) + 1) // 2 for table in tables]
    config = dict(
        type='EsViTSwin',
        arch=_zoo_name(EsViTSwin.arch_zoo, settings),
        window_size=first,
        patch_size=patch.shape[-1],
    )
    least = last * patch.shape[-1] * 2 ** (len(depths) - 1)
    # A window that is smaller than those before is the last grid; others must not be
    # larger than it, or they would shrink: 12 x 12 ones are of 384 px.
    if last < first or least > _IMG_SIZE:
        config['img_size'] = least
    return config


def _vil_config(state_dict: Weights) -> dict[str, Any]:
    depths = _depths(state_dict, r'layer(\d+)\.(\d+)\.attn\.proj\.weight')
    layers = range(1, len(depths) + 1)
    embeds = [state_dict[f'layer{i}.0.proj.weight'] for i in layers]
    table = 'layer{}.1.attn.local_relative_position_bias_table'
    settings = dict(
        embed_dims=[embed.shape[0] for embed in embeds],
        depths=depths,
        num_heads=[state_dict[table.format(i)].shape[1] for i in layers],
    )
    num_chunk_stages = sum(
        f'layer{i}.1.attn.query.weight' in state_dict for i in layers
    )
    config = dict(
        type='ViL',
        arch=_zoo_name(ViL.arch_zoo, settings),
        patch_sizes=tuple(embed.shape[-1] for embed in embeds),
        window_size=(_side(state_dict, table.format(1)) + 1) // 4,
        num_chunk_stages=num_chunk_stages,
        num_global_tokens=tuple(
            state_dict[key].shape[1] if key in state_dict else 0
            for key in (f'layer{i}.0.cls_token' for i in layers)
        ),
    )
    if num_chunk_stages < len(depths):
        grid = (_side(state_dict, table.format(len(depths))) + 1) // 2
        config['img_size'] = grid * prod(embed.shape[-1] for embed in embeds)
    return config


def _cvt_config(state_dict: Weights) -> dict[str, Any]:
    depths = _depths(state_dict, r'stage(\d+)\.1\.layers\.(\d+)\.0\.norm\.weight')
    widths = [len(state_dict[f'stage{i}.0.proj.bias']) for i in range(len(depths))]
    arch = _zoo_name(CvT.arch_zoo, dict(embed_dims=widths, depths=depths))
    if not isinstance(arch, str):
        raise ValueError(
            f'A CvT of widths {widths} and depths {depths} is none of '
            f'{sorted(CvT.arch_zoo)}, and the number of its heads cannot be read off '
            'the weights. Convert it with cvt_from_released and its own config.'
        )
    return dict(type='CvT', arch=arch)


def _vit_config(state_dict: Weights) -> dict[str, Any]:
    conv_stem = _STEM_END in state_dict
    patch = state_dict[_STEM_END if conv_stem else 'patch_embed.proj.weight']
    width = patch.shape[0]
    if width not in _VIT_WIDTHS:
        raise ValueError(
            f'The number of heads of a ViT of width {width} cannot be read off its '
            f'weights, only of widths {_VIT_WIDTHS}, which have 64 channels each.'
        )
    positions = state_dict['pos_embed']
    tokens = positions.shape[1]
    grid = round((tokens - 1) ** 0.5)
    if 'cls_token' not in state_dict or tokens != grid**2 + 1:
        raise ValueError(
            f'A ViT of {tokens} positions is none of the programs, whose ViTs have a '
            'class token and a square of patches.'
        )
    contrastive = conv_stem or is_sincos(positions)
    settings = dict(
        embed_dims=width,
        num_layers=len(
            {k.split('.')[1] for k in state_dict if k.startswith('blocks.')}
        ),
        num_heads=max(width // 64, 12) if contrastive else width // 64,
        feedforward_channels=len(state_dict['blocks.0.mlp.fc1.bias']),
    )
    zoo = {k: v for k, v in VisionTransformer.arch_zoo.items() if k[:5] == 'deit-'}
    patch_size = 16 if conv_stem else patch.shape[-1]
    stem = dict(type='MoCoV3VisionTransformer', conv_stem=True) if conv_stem else {}
    return (
        dict(
            type='VisionTransformer',
            arch=_zoo_name(zoo, settings),
            img_size=grid * patch_size,
            patch_size=patch_size,
            out_type='raw',
        )
        | stem
    )


def is_sincos(positions: Tensor) -> bool:
    """Whether positions (1, 1 + L, C) are the fixed ones of MoCo v3 or MAE.

    Their programs give ViT-Tiny and Small 12 heads, where DeiT's have 3 and 6, with
    weights of the same names and shapes. MAE orders the axes the other way round.
    """
    grid = round((positions.shape[1] - 1) ** 0.5)
    fixed = build_2d_sincos_position_embedding(
        grid, positions.shape[2], cls_token=True
    ).to(positions)
    halves = fixed.chunk(2, dim=2)
    return any(
        torch.allclose(positions, table, atol=1e-4)
        for table in (fixed, torch.cat(halves[::-1], dim=2))
    )


def vit_from_released(state_dict: Weights) -> dict[str, Tensor]:
    """Rename ViT weights (timm's names too) to those of ``VisionTransformer``.

    Args:
        state_dict: Weights by released name.

    Returns:
        Weights by mmpretrain's name; unknown names unchanged.
    """
    return OrderedDict((to_ours(name, VIT), v) for name, v in state_dict.items())


def _resnet_config(state_dict: Weights) -> dict[str, Any]:
    depths = tuple(_depths(state_dict, r'layer(\d+)\.(\d+)\.conv1\.weight'))
    bottleneck = 'layer1.0.conv3.weight' in state_dict
    for depth, (block, known) in ResNet.arch_settings.items():
        if known == depths and (block.__name__ == 'Bottleneck') == bottleneck:
            return dict(type='ResNet', depth=depth)
    raise ValueError(f'mmpretrain has no ResNet of {depths} blocks by stage.')


def _resnet_weights(state_dict: Weights) -> dict[str, Tensor]:
    """The names are mmpretrain's already."""
    return OrderedDict(state_dict)


_FAMILIES = {
    'EsViTSwin': _Family(swin_from_released, _swin_config),
    'ViL': _Family(vil_from_released, _vil_config),
    'CvT': _Family(cvt_from_released, _cvt_config),
    'VisionTransformer': _Family(vit_from_released, _vit_config),
    'ResNet': _Family(_resnet_weights, _resnet_config),
}
