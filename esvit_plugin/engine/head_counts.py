"""Refuse weights of a ViT with another number of heads, whose shapes are the same."""

import os
from collections.abc import Mapping
from typing import Any

from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.registry import MODELS
from torch import nn

from ..config_text import read_settings
from ..models.backbones import MoCoV3VisionTransformer
from ..type_names import type_name
from .checkpoints import load_checkpoint_file


def check_heads(model: nn.Module, path: str | os.PathLike) -> None:
    """Refuse a checkpoint of a ViT whose heads are not as many as the model's.

    MoCo v3's ViT-Small has 12 heads and DeiT-S 6, in weights of equal names and shapes:
    the wrong ones would load, and give features that mean nothing. Checkpoints of
    trainings have their config, and converted ones that of their backbone; of files
    without either nothing is known, and nothing is refused.

    Args:
        model: A backbone, or a model that has one.
        path: The checkpoint.

    Raises:
        ValueError: If the numbers differ; the message names both.
    """
    own = next(
        (
            module.arch_settings['num_heads']
            for module in model.modules()
            if isinstance(module, VisionTransformer)
        ),
        None,
    )
    if own is None:
        return
    stated = _heads(stated_backbone(path))
    if stated not in (None, own):
        raise ValueError(
            f'{path} is of a ViT with {stated} attention heads, that of the config has '
            f'{own}. The weights have the same shapes, but the features would mean '
            'nothing. Use a config with an arch of as many heads: MoCo v3 and MAE-lite '
            'have 12 in ViT-Tiny and Small (configs/mocov3, configs/mae_lite), DeiT 3 '
            'and 6.'
        )


def stated_backbone(path: str | os.PathLike) -> dict[str, Any]:
    """Config of the backbone that a checkpoint says it is of.

    Args:
        path: A file; of others, such as URLs, nothing is known.

    Returns:
        The config; empty if it does not say.
    """
    meta = _meta(path)
    backbone = meta.get('backbone')
    if not isinstance(backbone, Mapping):
        backbone = _model(meta).get('backbone')
    return dict(backbone) if isinstance(backbone, Mapping) else {}


def stated_model(path: str | os.PathLike) -> dict[str, Any]:
    """Config of the model that a checkpoint of a training says it is of.

    Args:
        path: As for :func:`stated_backbone`.

    Returns:
        The config; empty if it does not say.
    """
    return _model(_meta(path))


def _model(meta: Mapping[str, Any]) -> dict[str, Any]:
    text = meta.get('cfg')
    settings = read_settings(text) if isinstance(text, str) else None
    return dict(settings['model']) if settings else {}


def _meta(path: str | os.PathLike) -> Mapping[str, Any]:
    path = os.path.expanduser(os.fspath(path))
    if not os.path.isfile(path) or path.endswith('.safetensors'):
        return {}
    try:
        meta = load_checkpoint_file(path, mmap=True, released=True).get('meta')
    except ValueError:
        return {}  # loading says what is wrong, or reads older formats
    return meta if isinstance(meta, Mapping) else {}


def _heads(backbone: Mapping[str, Any]) -> int | None:
    """Number of heads of a plain ViT's config; None of other backbones."""
    kind = MODELS.get(type_name(backbone)) if backbone else None
    if kind is None or not issubclass(kind, VisionTransformer):
        return None
    arch = backbone.get('arch', 'base')
    if isinstance(arch, str):
        # It knows mmpretrain's names, too.
        arch = MoCoV3VisionTransformer.arch_zoo.get(arch.lower(), {})
    return arch.get('num_heads') if isinstance(arch, Mapping) else None
