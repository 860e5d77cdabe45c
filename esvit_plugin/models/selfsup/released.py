"""Checkpoints of the authors' program, in this package's names."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..backbones.swin import swin_from_released

_HEADS = {'head.': 'neck.', 'head_dense.': 'region_neck.'}
_CENTERS = {'center': 'head.center', 'center_grid': 'region_head.center'}


def esvit_from_released(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Convert a released EsViT checkpoint to the state dict of an ``EsViT``.

    Args:
        checkpoint: What the authors' program saved: ``student``, ``teacher``,
            ``dino_loss`` and others, the weights with or without a ``module.``
            prefix.

    Returns:
        State dict of student, teacher, necks and centres, which an ``EsViT`` of the
        same architecture loads strictly.

    Raises:
        ValueError: If it is no such checkpoint, or its backbone is no Swin.
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
        for name, value in _convert_network(checkpoint[source]).items():
            converted[prefix + name] = value
    for name, value in checkpoint['dino_loss'].items():
        if name in _CENTERS:
            converted[_CENTERS[name]] = value
    return converted


def _convert_network(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    backbone: dict[str, Tensor] = OrderedDict()
    necks: dict[str, Tensor] = OrderedDict()
    for released, value in state_dict.items():
        name = released.removeprefix('module.')
        for head, neck in _HEADS.items():
            if name.startswith(head):
                necks[neck + name.removeprefix(head)] = value
                break
        else:
            backbone[name] = value
    if not any(name.startswith('layers.0.blocks.0.attn.') for name in backbone):
        raise ValueError(
            'Only Swin backbones can be converted, but the checkpoint has '
            f'{list(backbone)[:3]}, ...'
        )
    converted = {f'backbone.{k}': v for k, v in swin_from_released(backbone).items()}
    return OrderedDict(**converted, **necks)
