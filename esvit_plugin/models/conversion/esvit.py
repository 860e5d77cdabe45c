"""Checkpoints of the authors' program, in this package's names."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .backbones import backbone_from_released, check_fit
from .names import unwrap_names

_NECKS = {'head.': 'neck.', 'head_dense.': 'region_neck.'}
_CENTERS = {'center': 'head.center', 'center_grid': 'region_head.center'}
# What a checkpoint of a training holds at least.
_PARTS = ('student', 'teacher', 'dino_loss')


def is_full_checkpoint(checkpoint: Mapping[str, Any]) -> bool:
    """Whether it has all that ``esvit_from_released`` takes."""
    return all(isinstance(checkpoint.get(key), Mapping) for key in _PARTS)


def esvit_from_released(
    checkpoint: Mapping[str, Any], arch: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a full checkpoint of EsViT's or DINO's program to an ``EsViT``.

    Args:
        checkpoint: What the program saved: ``student``, ``teacher``, ``dino_loss``
            and others. Names may have any number of the prefixes ``module.``,
            ``backbone.`` and ``_orig_mod.``, those of the teacher others than those
            of the student.
        arch: A name of ``RELEASED_ARCHS``. Defaults to None: found from the weights.

    Returns:
        Config of the ``EsViT``, and its state dict of student, teacher, necks and
        centres, which it loads strictly.

    Raises:
        ValueError: If it is no such checkpoint, its backbone is not known, or a
            weight is missing, unknown or of another shape; the message names it.
    """
    if not is_full_checkpoint(checkpoint):
        missing = [k for k in _PARTS if not isinstance(checkpoint.get(k), Mapping)]
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
    try:
        check_fit(config, converted)
    except ValueError as error:
        raise ValueError(
            f"{error} --backbone-only converts the teacher's backbone without heads."
        ) from error
    return config, converted


def _convert_network(
    state_dict: Mapping[str, Tensor], arch: str | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config of a network's backbone, and the weights of backbone and necks."""
    backbone: dict[str, Tensor] = OrderedDict()
    necks: dict[str, Tensor] = OrderedDict()
    for name, value in unwrap_names(state_dict).items():
        for head, neck in _NECKS.items():
            if name.startswith(head):
                necks[neck + name.removeprefix(head)] = value
                break
        else:
            backbone[name] = value
    if any(name.endswith('running_mean') for name in necks):
        raise ValueError(
            "The projection heads have batch norm (--use_bn_in_head of DINO's program),"
            " which DINOProjection lacks; --backbone-only converts the teacher's "
            'backbone without heads.'
        )
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
        # Its absence is reported with all others.
        gain = weights.get(f'{task}neck.last_layer.weight_g', layers[0])
        number = len(gain)
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
