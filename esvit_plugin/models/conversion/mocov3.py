"""Checkpoints of MoCo v3's program, in the names of mmpretrain's ``MoCoV3``."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from mmpretrain.models.backbones import VisionTransformer
from torch import Tensor

from .backbones import backbone_from_released, check_fit
from .names import find_network, is_mocov3

# Networks of the program, and the prefixes of their backbone and projector here.
_NETWORKS = {
    'base_encoder.': ('backbone.', 'neck.'),
    'momentum_encoder.': ('momentum_encoder.module.0.', 'momentum_encoder.module.1.'),
}
_PREDICTOR = 'predictor.'
# The projector is where torchvision's and timm's classifiers are.
_LAYER = re.compile(r'(?:head|fc|predictor)\.(\d+)\.')
_WRAPPER = 'module.'


def is_mocov3_training(checkpoint: Mapping[str, Any]) -> bool:
    """Whether it is a checkpoint of the program's pre-training."""
    network = find_network(checkpoint)
    return network is not None and is_mocov3(network[1])


def mocov3_from_released(
    checkpoint: Mapping[str, Any], arch: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a pre-training of MoCo v3's program (arXiv 2104.02057).

    Args:
        checkpoint: What the program saved: under ``state_dict`` the networks
            ``base_encoder``, ``momentum_encoder`` and ``predictor``, with or without
            ``module.`` before them.
        arch: A name of ``RELEASED_ARCHS``. Defaults to None: found from the weights.

    Returns:
        Config of the ``ReleasedMoCoV3``, and its state dict, which it loads strictly.

    Raises:
        ValueError: If a network is missing, or a weight is missing, unknown or of
            another shape; the message names it.
    """
    network = find_network(checkpoint)
    released = {} if network is None else network[1]
    parts: dict[str, dict[str, Tensor]] = {
        prefix: OrderedDict() for prefix in (*_NETWORKS, _PREDICTOR)
    }
    for name, value in released.items():
        short = name.removeprefix(_WRAPPER)
        prefix = next((p for p in parts if short.startswith(p)), None)
        if prefix is None:
            raise ValueError(
                f'{name} belongs to no network of MoCo v3: {", ".join(parts)}'
            )
        inner = short if prefix == _PREDICTOR else short.removeprefix(prefix)
        parts[prefix][inner] = value
    for prefix in _NETWORKS:
        if not parts[prefix]:
            raise ValueError(f'It has no {prefix}*, so it is no whole pre-training.')
    converted: dict[str, Tensor] = OrderedDict()
    for prefix, (backbone_name, neck_name) in _NETWORKS.items():
        heads = {n: v for n, v in parts[prefix].items() if _LAYER.match(n)}
        config, weights = backbone_from_released(
            {n: v for n, v in parts[prefix].items() if n not in heads}, arch
        )
        config = _with_heads(config, arch)
        if prefix == 'base_encoder.':
            backbone, projector = config, _rename(heads)
        converted.update({f'{backbone_name}{n}': v for n, v in weights.items()})
        converted.update({f'{neck_name}{n}': v for n, v in _rename(heads).items()})
    predictor = _rename(parts[_PREDICTOR])
    converted.update({f'head.predictor.{n}': v for n, v in predictor.items()})
    # More than 0: the momentum encoder of mmpretrain copies the other at its first.
    converted['momentum_encoder.steps'] = torch.tensor(1)
    model = _model_config(backbone, projector, predictor)
    check_fit(model, converted)
    return model, converted


def _with_heads(config: dict[str, Any], arch: str | None) -> dict[str, Any]:
    """A backbone with the heads that the program's ViTs have, whatever its positions.

    Raises:
        ValueError: If ``arch`` has others.
    """
    if config['type'] == 'ResNet':
        return config
    settings = config['arch']
    if isinstance(settings, str):
        settings = VisionTransformer.arch_zoo[settings]
    heads = max(12, settings['embed_dims'] // 64)
    if settings['num_heads'] == heads:
        return config
    if arch is not None:
        raise ValueError(
            f'It is a pre-training of MoCo v3, whose ViTs of this width have {heads} '
            f'heads, not {settings["num_heads"]} as {arch} has; leave --arch out.'
        )
    return dict(config, arch=dict(settings, num_heads=heads))


def _rename(layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an MLP in the names of ``NonLinearNeck``; each layer is fc, bn, relu.

    Example:
        >>> _rename({'head.4.bias': bias})
        {'bn1.bias': bias}
    """
    renamed = OrderedDict()
    for name, value in layers.items():
        match = _LAYER.match(name)
        number = int(match[1]) if match else 2
        if number % 3 == 2:
            raise ValueError(f'{name} is no layer of a projector or predictor.')
        assert match
        kind = ('fc', 'bn')[number % 3]
        renamed[f'{kind}{number // 3}.{name[match.end() :]}'] = value
    return renamed


def _model_config(
    backbone: dict[str, Any],
    projector: Mapping[str, Tensor],
    predictor: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Config of the model with these weights, with the temperature of its recipe."""
    is_vit = backbone['type'] != 'ResNet'
    if is_vit:
        backbone = dict(backbone, type='MoCoV3VisionTransformer')
        del backbone['out_type']
    temperature = 0.2 if is_vit else 1.0
    norm_cfg = dict(type='BN1d')
    return dict(
        type='ReleasedMoCoV3',
        backbone=backbone,
        neck=dict(_mlp(projector, norm_cfg), with_avg_pool=not is_vit),
        head=dict(
            type='MoCoV3Head',
            predictor=dict(_mlp(predictor, norm_cfg), with_avg_pool=False),
            loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
            temperature=temperature,
        ),
    )


def _mlp(weights: Mapping[str, Tensor], norm_cfg: dict[str, Any]) -> dict[str, Any]:
    matrices = [value for value in weights.values() if value.dim() == 2]
    if len(matrices) < 2:
        raise ValueError('It has no projector and predictor of two layers or more.')
    return dict(
        type='NonLinearNeck',
        in_channels=matrices[0].shape[1],
        hid_channels=matrices[0].shape[0],
        out_channels=matrices[-1].shape[0],
        num_layers=len(matrices),
        with_last_bn=f'bn{len(matrices) - 1}.running_mean' in weights,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg,
    )
