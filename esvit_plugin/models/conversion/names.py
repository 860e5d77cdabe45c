"""How to know weights of the programs that this package converts, by their names."""

import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

CONVERTER = 'esvit convert'
EXTRACTOR = 'esvit extract-backbone'
# In a checkpoint of this package.
TEACHER, STUDENT = 'teacher.backbone.', 'backbone.'

# A tensor that each family of backbones has, and no other.
MARKERS = {
    'EsViTSwin': 'layers.0.blocks.0.attn.qkv.weight',
    'ViL': 'layer1.1.attn.proj.weight',
    'CvT': 'stage0.0.proj.weight',
    'VisionTransformer': 'blocks.0.attn.qkv.weight',
    'ResNet': 'layer1.0.conv1.weight',
}
# What MoCo v3's program calls the network that is trained.
_MOCOV3 = ('base_encoder.', 'module.base_encoder.')
# Put before names by torch's DDP, by DINO's wrapper for views of several sizes (twice
# around a ResNet), by torch.compile and by MAE-lite, in any order. No name of a
# backbone or a head of the programs begins like this.
_WRAPPERS = re.compile(r'^(?:(?:module|backbone|_orig_mod|model)\.)+')
# Where programs keep the weights of one network in a file.
_NETWORKS = ('teacher', 'student', 'state_dict', 'model')


def unwrap_name(name: str) -> str:
    """A name without what wrappers of the network put before it.

    Example:
        >>> unwrap_name('module.backbone.backbone.conv1.weight')
        'conv1.weight'
    """
    return _WRAPPERS.sub('', name)


def unwrap_names(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Weights without what wrappers of the network put before their names.

    Args:
        state_dict: Weights by name.

    Raises:
        ValueError: If two names are the same without it.
    """
    unwrapped: dict[str, Any] = OrderedDict()
    for name, value in state_dict.items():
        short = unwrap_name(name)
        if short in unwrapped:
            other = next(n for n in state_dict if unwrap_name(n) == short)
            raise ValueError(
                f'{other} and {name} are both the {short} of a network: the weights '
                'are of more than one.'
            )
        unwrapped[short] = value
    return unwrapped


def find_family(names: Iterable[str]) -> str | None:
    """Type of the backbone whose released names are among these; None if none is."""
    unwrapped = {unwrap_name(name) for name in names}
    return next((kind for kind, name in MARKERS.items() if name in unwrapped), None)


def find_network(content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Find the weights of one network in a file, the teacher's first.

    Args:
        content: What the file holds.

    Returns:
        The key that has them, '' for the file itself, and the weights; None if there
        are none.
    """
    for key in _NETWORKS:
        if _is_state_dict(content.get(key)):
            return key, content[key]
    return ('', content) if _is_state_dict(content) else None


def check_tensors(content: Mapping[str, Any]) -> None:
    """Refuse a file whose networks hold anything but tensors.

    Args:
        content: What the file holds.

    Raises:
        ValueError: If so; the message names the first.
    """
    for key in _NETWORKS:
        weights: Any = content.get(key)
        if not _is_state_dict(weights):
            continue
        wrong = [n for n, value in weights.items() if not isinstance(value, Tensor)]
        if wrong:
            raise ValueError(
                f'{wrong[0]} under {key!r} is a {type(weights[wrong[0]]).__name__}, no '
                'tensor: the file is damaged.'
            )


def is_released_training(content: Mapping[str, Any]) -> bool:
    """Whether a file is organised as the checkpoints of the authors' programs."""
    return 'state_dict' not in content and any(
        _is_state_dict(content.get(key)) for key in ('teacher', 'student')
    )


def is_mocov3(names: Iterable[str]) -> bool:
    """Whether these are names of a pre-training of MoCo v3's program."""
    return any(name.startswith(_MOCOV3) for name in names)


def is_backbone_alone(names: Iterable[str]) -> bool:
    """Whether these are a teacher's backbone and a student's, and nothing else.

    Such are the files that ``esvit convert`` makes of a backbone; both are the same.
    """
    kept = [name for name in names if not name.startswith('data_preprocessor.')]
    alone = all(name.startswith((TEACHER, STUDENT)) for name in kept)
    return alone and any(name.startswith(TEACHER) for name in kept)


def must_convert(content: Mapping[str, Any], own: Iterable[str] = ()) -> bool:
    """Whether weights have released names where a model needs others.

    Args:
        content: What a file holds, or weights by name.
        own: Names of the model's tensors. Defaults to none.
    """
    network = find_network(content)
    if network is None:
        return False
    names = set(network[1])
    if is_mocov3(names):
        return not is_mocov3(own)
    family = find_family(names)
    marker = MARKERS.get(family or '', '')
    if family == 'ResNet' and {marker, f'{STUDENT}{marker}'} & names:
        return False  # mmpretrain has the same names
    return family is not None and find_family(own) != family


def convert_first(path: str | os.PathLike | None = None) -> str:
    """What to tell about a file of which ``must_convert`` is true.

    Args:
        path: The file. Defaults to None: whoever catches the error names it.
    """
    name = None if path is None else os.fspath(path)
    return (
        f"{name or 'It'} has the names of the program that trained it (EsViT's, "
        f"DINO's, MAE-lite's or MoCo v3's) or of timm. Convert it first: {CONVERTER} "
        f'{name or "SRC"} DST'
    )


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(item, Tensor) for item in value.values()
    )
