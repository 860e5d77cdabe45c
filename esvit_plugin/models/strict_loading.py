"""Loading of weights that must all be there, for evaluations."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

_whole: ContextVar[bool] = ContextVar('_whole', default=False)
_BIAS_TABLE = re.compile(r'relative_position_bias_table$')
_POSITIONS = re.compile(r'pos_embed$')


@contextlib.contextmanager
def whole_weights() -> Iterator[None]:
    """Within it, ``type='Pretrained'`` refuses a file without all of the weights."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def wants_whole_weights() -> bool:
    """Whether this runs within ``whole_weights``."""
    return _whole.get()


def check_bias_tables(own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse tables of relative positions that loading would resize.

    Backbones fit tables of another window while they load, which suits fine-tuning at
    another size; features that are evaluated as they are would change without a word.

    Args:
        own: Tensors of the model, by name.
        given: Those to load.

    Raises:
        ValueError: If a table is of another window; the message names both.
    """
    for name, value in own.items():
        other = given.get(name)
        if not _BIAS_TABLE.search(name) or not isinstance(other, Tensor):
            continue
        if len(other) != len(value):
            sides = [round(len(table) ** 0.5) for table in (other, value)]
            raise ValueError(
                f'{name} covers {sides[0]} x {sides[0]} offsets, that of the config '
                f'{sides[1]} x {sides[1]}: the weights are of another window_size (or '
                'img_size) than the config says. Use the config they were trained with.'
            )


def find_misfits(model: nn.Module, given: Mapping[str, Any]) -> list[str]:
    """Weights of a model that are of another shape in a file.

    Args:
        model: The model. Its buffers are no weights: they follow from its sizes.
        given: Tensors to load, by name. Tables of relative positions and position
            embeddings may have another length, to which backbones fit them while they
            load, but no other number of heads or channels.

    Returns:
        Each weight's name with both shapes.
    """
    return [
        f'{name} {tuple(given[name].shape)} instead of {tuple(own.shape)}'
        for name, own in sorted(model.named_parameters())
        if isinstance(given.get(name), Tensor) and not _fits(name, given[name], own)
    ]


def _fits(name: str, given: Tensor, own: Tensor) -> bool:
    if _BIAS_TABLE.search(name):
        return given.shape[1:] == own.shape[1:]
    if _POSITIONS.search(name):
        return given.shape[-1:] == own.shape[-1:]
    return given.shape == own.shape


def find_cut_off(model: nn.Module, given: Iterable[str]) -> list[str]:
    """Names of a file that are of blocks or stages beyond a model's last.

    Args:
        model: The model.
        given: Names of the tensors to load.

    Returns:
        Those of numbers that a list of the model's modules does not reach; other names
        that are left over, such as of a mask token, are none of them.
    """
    return [name for name in given if _is_beyond(model, name)]


def _is_beyond(module: nn.Module, name: str) -> bool:
    for part in name.split('.'):
        child = module._modules.get(part)
        if child is None:
            if not isinstance(module, nn.ModuleList | nn.Sequential):
                return False
            return part.isdecimal() and int(part) >= len(module)
        module = child
    return False
