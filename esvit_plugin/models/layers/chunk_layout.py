"""Where the positions of a map lie in the chunks of ViL, computed once per size."""

import torch
from torch import Tensor

from .layout_cache import computed_once


def _pairs(rows: Tensor, cols: Tensor) -> Tensor:
    """All pairs of a row and a column, shape (2, P), row by row."""
    return torch.stack(torch.meshgrid(rows, cols, indexing='ij')).flatten(1)


def _table_row(offset: Tensor, reach: int) -> Tensor:
    """Row of a bias table for offsets (2, ...) of up to ``reach`` along each axis."""
    return (offset[0] + reach) * (2 * reach + 1) + offset[1] + reach


@computed_once
def offset_index(grid: int, device: torch.device) -> Tensor:
    """Row of the bias table for each pair of positions of a grid.

    Args:
        grid: Height and width of the grid.
        device: Where the tensor shall be.

    Returns:
        Tensor of shape (P, P), query before key.
    """
    axis = torch.arange(grid)
    position = _pairs(axis, axis)
    return _table_row(position[:, :, None] - position[:, None], grid - 1).to(device)


@computed_once
def chunk_offset_index(side: int, device: torch.device) -> Tensor:
    """Row of the bias table for each position of a chunk and of the 3x3 around it.

    Args:
        side: Side of a chunk in positions.
        device: Where the tensor shall be.

    Returns:
        Tensor of shape (side^2, 9, side^2): query, chunk of the key, key.
    """
    axis = torch.arange(side)
    inside = _pairs(axis, axis)
    step = side * torch.arange(-1, 2)
    key = _pairs(step, step)[:, :, None] + inside[:, None]
    offset = inside[:, :, None, None] - key[:, None]
    return _table_row(offset, 2 * side - 1).to(device)


@computed_once
def attended_chunks(neighbor: int, device: torch.device) -> Tensor:
    """Which chunks of the 3x3 around a chunk, row by row, it attends to.

    Args:
        neighbor: The only one besides the chunk itself, which is number 4: 0 to 7, row
            by row without that. -1: all.
        device: Where the tensor shall be.

    Returns:
        Numbers of shape (9,) or (2,); of two the own one is the first.
    """
    if neighbor < 0:
        return torch.arange(9, device=device)
    return torch.tensor([4, neighbor if neighbor < 4 else neighbor + 1]).to(device)


@computed_once
def chunk_plan(
    height: int, width: int, side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which chunks surround each chunk, and which of their positions exist.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        side: Side of a chunk in positions.
        device: Where the tensors shall be.

    Returns:
        Indices (chunks, 9) of the 3x3 neighbourhood, row by row, a chunk outside the
        map replaced by any other; and a mask (chunks, 9, side^2), False for
        positions outside the map.
    """

    def axis(size: int) -> tuple[Tensor, Tensor]:
        """The 3 chunks around each along an axis, and whether positions exist."""
        number = -(-size // side)
        near = torch.arange(number)[:, None] + torch.arange(-1, 2)
        position = near[..., None] * side + torch.arange(side)
        return near.clamp(0, number - 1), (position >= 0) & (position < size)

    (row, row_exists), (col, col_exists) = axis(height), axis(width)
    index = row[:, None, :, None] * len(col) + col[None, :, None]
    exists = row_exists[:, None, :, None, :, None] & col_exists[None, :, None, :, None]
    return index.flatten(2).flatten(0, 1).to(device), (
        exists.flatten(4).flatten(2, 3).flatten(0, 1).to(device)
    )


@computed_once
def map_offset_index(
    height: int, width: int, side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Row of the bias table for each pair of positions of a map in chunks.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        side: Side of a chunk in positions.
        device: Where the tensors shall be.

    Returns:
        The rows, and which chunk of the 3x3 around the query's holds the key, -1 for
        one further away; each (L, L), query before key.
    """
    position = _pairs(torch.arange(height), torch.arange(width))
    chunk = position // side
    step = chunk[:, None] - chunk[:, :, None] + 1
    near = ((step >= 0) & (step <= 2)).all(0)
    index = _table_row(position[:, :, None] - position[:, None], 2 * side - 1)
    chunk_of_key = (step[0] * 3 + step[1]).where(near, -1)
    return index.where(near, 0).to(device), chunk_of_key.to(device)
