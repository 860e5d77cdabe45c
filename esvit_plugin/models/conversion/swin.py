"""Swin's weights: the authors' program's and timm's names, and this package's."""

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor

from .renames import SWIN, to_ours


def swin_from_released(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename Swin weights of the authors' program, or timm's, to ``EsViTSwin``'s.

    Args:
        state_dict: Backbone weights by released name (no ``module.`` prefix).
            Names it does not know are passed on unchanged, so that a strict load
            reports them.

    Returns:
        Weights by this package's (and mmpretrain's) name.
    """
    stages = [int(k.split('.')[1]) for k in state_dict if k.startswith('layers.')]
    last = max(stages, default=3)
    # timm has patch merging at the beginning of the next stage.
    shifted = not any(k.startswith('layers.0.downsample.') for k in state_dict)
    converted: dict[str, Tensor] = OrderedDict()
    for released, value in state_dict.items():
        if released.endswith(('attn_mask', 'relative_position_index')):
            continue  # rebuilt for each map size; follows from the table's shape
        merging = re.match(r'layers\.(\d+)(?=\.downsample\.)', released)
        if merging and shifted:
            released = f'layers.{int(merging[1]) - 1}{released[merging.end() :]}'
        name = to_ours(released, SWIN)
        if name.startswith('norm.'):
            name = name.replace('norm.', f'norm{last}.', 1)
        if '.downsample.' in name:
            value = merge_order(value)
        converted[name] = value
        if name.endswith('relative_position_bias_table'):
            # mmpretrain stores the index as a buffer; it follows from the shape.
            side = (int(value.shape[0] ** 0.5) + 1) // 2
            index_name = name.replace('bias_table', 'index')
            converted[index_name] = _position_index(side)
    return converted


def merge_order(value: Tensor) -> Tensor:
    """Reorder the last axis from (column, row, channel) to (channel, row, column).

    Patch merging of the authors' program, and of timm, concatenates four maps;
    mmpretrain's unfolds.
    """
    split = value.unflatten(-1, (2, 2, -1))
    return split.movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3).contiguous()


def released_merge_order(value: Tensor) -> Tensor:
    """The inverse of ``merge_order``."""
    split = value.unflatten(-1, (-1, 2, 2))
    return split.movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3).contiguous()


def _position_index(side: int) -> Tensor:
    """Row of the bias table for each pair of positions of a square window."""
    rows, cols = torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
    rows, cols = rows.flatten(), cols.flatten()
    row_offset = rows[:, None] - rows[None] + side - 1
    col_offset = cols[:, None] - cols[None] + side - 1
    return row_offset * (2 * side - 1) + col_offset
