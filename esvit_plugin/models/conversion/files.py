"""The backbone of files that hold no whole training: DINO's, timm's, torchvision's."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from .backbones import backbone_from_released, check_fit
from .names import (
    EXTRACTOR,
    STUDENT,
    TEACHER,
    find_network,
    unwrap_names,
)

# Projection heads of the programs, and classifiers of timm and torchvision.
_HEADS = ('head.', 'head_dense.', 'fc.')
# Names of mmpretrain that the programs do not use.
_OWN = re.compile(r'stages\.\d+\.blocks\.\d+\.attn\.|layers\.\d+\.ln1\.')


class ReleasedBackbone(NamedTuple):
    """A converted backbone.

    Attributes:
        config: Config of the backbone.
        weights: Its weights, in the names of that backbone.
        source: The key of the file that had them, '' for the file itself.
        dropped: Names of the heads' tensors, which are left out.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    source: str
    dropped: list[str]


def find_released_backbone(
    checkpoint: Mapping[str, Any], arch: str | None = None
) -> ReleasedBackbone:
    """Convert the backbone of a file, the teacher's where there are two.

    Args:
        checkpoint: What the file holds: weights by released name (timm's for a ViT,
            torchvision's for a ResNet), or such weights under ``teacher``,
            ``student``, ``state_dict`` or ``model``.
        arch: A name of ``RELEASED_ARCHS``. Defaults to None: found from the weights.

    Raises:
        ValueError: If there are no such weights, they need no conversion, or one is
            missing, unknown or of another shape; the message says what to do.
    """
    network = find_network(checkpoint)
    if network is None:
        raise ValueError(
            f'There are no weights in it, only {sorted(map(str, checkpoint))[:8]}; '
            'needed are the weights of a backbone, or student, teacher and dino_loss '
            'of a training.'
        )
    source, state_dict = network
    _refuse_own(checkpoint, state_dict)
    weights = unwrap_names(
        {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}
    )
    dropped = [name for name in weights if name.startswith(_HEADS)]
    for name in dropped:
        del weights[name]
    config, converted = backbone_from_released(weights, arch)
    check_fit(config, converted)
    return ReleasedBackbone(config, converted, source, dropped)


def _refuse_own(checkpoint: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    """Say how to use weights that have the names of this package already."""
    if any(name.startswith(TEACHER) for name in names):
        raise ValueError(
            'It is a checkpoint of this package already and needs no conversion. For '
            f'the backbone alone: {EXTRACTOR} SRC DST'
        )
    meta = checkpoint.get('meta')
    source = meta.get('source') if isinstance(meta, dict) else None
    if source in (TEACHER, STUDENT) or any(map(_OWN.match, unwrap_names(names))):
        prefix = '' if not any(n.startswith(STUDENT) for n in names) else STUDENT
        prefix = f", prefix='{prefix}'" if prefix else ''
        raise ValueError(
            'It has the names of mmpretrain already, as extract_backbone.py writes '
            "them, and needs no conversion. Use it with init_cfg=dict(type='Pretrained'"
            f', checkpoint=SRC{prefix}).'
        )
