"""Where the positions of a map lie in the windows of Swin, computed once per size."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# What a position does not attend to, as in every Swin.
MASKED = -100.0


@dataclass(frozen=True)
class WindowGroup:
    """Windows that have their padding and their borders at the same places.

    Attributes:
        num_windows: How many there are, in all images.
        real: The places in a window that are no padding, shape (R,).
        padding: The places that are, shape (N - R,).
        mask: What is added to the scores of real places and all places, shape
            (R, N), None if nothing is.
    """

    num_windows: int
    real: Tensor
    padding: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class WindowLayout:
    """An order of all positions in which windows lie together, group by group.

    Attributes:
        order: The position (image by image, row by row) of each row, (B H W,).
        inverse: The row of each position, (B H W,).
        groups: The groups of windows, in the order of the rows.
    """

    order: Tensor
    inverse: Tensor
    groups: tuple[WindowGroup, ...]


@torch.compiler.disable  # a break of the graph, once per block
@lru_cache(maxsize=64)
@torch.inference_mode(False)  # or a first call in that mode spoils later training
def window_layout(
    batch: int, height: int, width: int, side: int, shift: int, device: torch.device
) -> WindowLayout:
    """Cut maps into windows, padded and shifted as Swin does.

    A map is padded at its end to a multiple of ``side`` and rolled up and left by
    ``shift``. Rolled, the last windows join both ends of the map, which do not
    attend to each other. Padding is ordinary in this.

    Args:
        batch: Number of images B.
        height: Height H of the maps.
        width: Width W of the maps.
        side: Side of a window in positions.
        shift: Shift of the windows, 0 for none.
        device: Where the tensors shall be.
    """

    def ends(length: int) -> Tensor:
        """Parts of a rolled axis that were not neighbours."""
        place = torch.arange(length)
        return (place >= length - side).int() + (place >= length - shift).int()

    rows, cols = -(-height // side), -(-width // side)
    # -1 marks padding.
    index = torch.arange(height * width).view(height, width)
    index = F.pad(index, (0, cols * side - width, 0, rows * side - height), value=-1)
    index = index.roll((-shift, -shift), (0, 1))
    parts = torch.zeros_like(index)
    if shift:
        parts = 3 * ends(rows * side)[:, None] + ends(cols * side)

    def windows(grid: Tensor) -> Tensor:
        grid = grid.view(rows, side, cols, side).transpose(1, 2)
        return grid.flatten(2).flatten(0, 1)

    index, parts = windows(index), windows(parts)
    kinds, kind = torch.cat([index >= 0, parts], 1).unique(dim=0, return_inverse=True)
    orders, groups = [], []
    for number, pattern in enumerate(kinds):
        real, part = pattern.chunk(2)
        members = index[kind == number]
        places = real.nonzero()[:, 0]
        if not len(places):
            continue  # no query, and nobody else's key
        images = torch.arange(batch)[:, None, None] * (height * width)
        orders.append((images + members[:, places]).flatten())
        apart = part[places][:, None] != part[None]
        groups.append(
            WindowGroup(
                num_windows=batch * len(members),
                real=places.to(device),
                padding=(real == 0).nonzero()[:, 0].to(device),
                mask=(MASKED * apart.float()).to(device) if apart.any() else None,
            )
        )
    order = torch.cat(orders)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return WindowLayout(order.to(device), inverse.to(device), tuple(groups))
