"""Checkpoints of the authors' program, in this package's names."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from mmpretrain.registry import MODELS
from torch import Tensor

from ..backbones.released import backbone_from_released

_NECKS = {'head.': 'neck.', 'head_dense.': 'region_neck.'}
_CENTERS = {'center': 'head.center', 'center_grid': 'region_head.center'}


def esvit_from_released(
    checkpoint: Mapping[str, Any], arch: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a released EsViT checkpoint to an ``EsViT``.

    Args:
        checkpoint: What the authors' program saved: ``student``, ``teacher``,
            ``dino_loss`` and others, the weights with or without a ``module.``
            prefix.
        arch: A name of ``RELEASED_ARCHS``. Defaults to None: found from the weights.

    Returns:
        Config of the ``EsViT``, and its state dict of student, teacher, necks and
        centres, which it loads strictly.

    Raises:
        ValueError: If it is no such checkpoint, its backbone is not known, or a
            weight is missing, unknown or of another shape; the message names it.
    """
    missing = [
        key for key in ('student', 'teacher', 'dino_loss') if key not in checkpoint
    ]
    if missing:
        raise ValueError(
            f"No full checkpoint of the authors' EsViT program: it lacks {missing}. "
            f'It holds {list(checkpoint)[:8]}.'
        )
    converted: dict[str, Tensor] = OrderedDict()
    for source, prefix in (('student', ''), ('teacher', 'teacher.')):
        backbone, weights = _convert_network(checkpoint[source], arch)
        for name, value in weights.items():
            converted[prefix + name] = value
    for name, value in checkpoint['dino_loss'].items():
        if name in _CENTERS:
            converted[_CENTERS[name]] = value
    config = _model_config(backbone, converted)
    _check_names(config, converted)
    return config, converted


def _convert_network(
    state_dict: Mapping[str, Tensor], arch: str | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config of a network's backbone, and the weights of backbone and necks."""
    backbone: dict[str, Tensor] = OrderedDict()
    necks: dict[str, Tensor] = OrderedDict()
    for released, value in state_dict.items():
        # Networks that are not the authors' own were wrapped once more.
        name = released.removeprefix('module.').removeprefix('backbone.')
        for head, neck in _NECKS.items():
            if name.startswith(head):
                necks[neck + name.removeprefix(head)] = value
                break
        else:
            backbone[name] = value
    config, weights = backbone_from_released(backbone, arch)
    converted = {f'backbone.{name}': value for name, value in weights.items()}
    return config, OrderedDict(**converted, **necks)


def _model_config(
    backbone: dict[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Config of the ``EsViT`` with these weights."""
    config: dict[str, Any] = dict(type='EsViT', backbone=backbone)
    heads = {'': 'DINOViewHead', 'region_': 'RegionMatchingHead'}
    for task, head in heads.items():
        layers = [
            value
            for name, value in weights.items()
            if name.startswith(f'{task}neck.mlp.') and value.dim() == 2
        ]
        if not layers:
            config[f'{task}neck'] = config[f'{task}head'] = None
            continue
        number = len(weights[f'{task}neck.last_layer.weight_g'])
        config[f'{task}neck'] = dict(
            type='DINOProjection',
            in_channels=layers[0].shape[1],
            out_channels=number,
            hidden_channels=layers[0].shape[0],
            bottleneck_channels=layers[-1].shape[0],
            num_layers=len(layers),
        )
        config[f'{task}head'] = dict(type=head, out_channels=number)
    return config


def _check_names(config: dict[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that the model of ``config`` would not load strictly."""
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
    found = [f'{kind}: {_list(names)}' for kind, names in problems.items() if names]
    if found:
        raise ValueError(
            f'The weights do not fit {config["backbone"]}; {"; ".join(found)}. '
            'Pass another --arch, if the weights are of one.'
        )


def _list(names: Iterable[str], limit: int = 20) -> str:
    names = list(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
