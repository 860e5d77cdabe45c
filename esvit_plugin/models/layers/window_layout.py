"""Where the positions of a map lie in the windows of Swin, computed once per size."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout_cache import computed_once

# Added to scores where a position does not attend. Other Swins add -100, whose
# exponentials are no normal numbers but not yet zero: these windows then take twice as
# long on a CPU.
MASKED = -1000.0


@dataclass(frozen=True)
class WindowGroup:
    """Windows that have padding and borders of the map at the same places.

    Attributes:
        num_windows: How many there are, in all images.
        real: The places of a window that are positions of the map, shape (R,).
        padding: Its other places, shape (N - R,).
        mask: What is added to the scores of R queries and N keys, shape (R, N), None
            if nothing is.
    """

    num_windows: int
    real: Tensor
    padding: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class WindowLayout:
    """An order of all positions, window after window and group after group.

    Attributes:
        order: For each place in that order, the position on the map, counted image by
            image and row by row; shape (B H W,).
        inverse: For each position its place in that order, shape (B H W,).
        groups: The groups of windows in that order.
    """

    order: Tensor
    inverse: Tensor
    groups: tuple[WindowGroup, ...]


@computed_once
def window_layout(
    batch: int, height: int, width: int, side: int, shift: int, device: torch.device
) -> WindowLayout:
    """Cut maps into windows, padded and shifted as Swin does.

    A map is padded at its bottom and right to a multiple of ``side``, then rolled up
    and left by ``shift``. The last windows then hold both ends of the map, which do
    not attend to each other. In all this padding counts as ordinary positions.

    Args:
        batch: Number of images B.
        height: Height H of the maps.
        width: Width W of the maps.
        side: Side of a window in positions.
        shift: Shift of the windows, 0 for none.
        device: Where the tensors shall be.
    """

    def regions(length: int) -> Tensor:
        """Parts 0, 1, 2 of a rolled axis; those in one window were not neighbours."""
        place = torch.arange(length)
        return (place >= length - side).int() + (place >= length - shift).int()

    rows, cols = -(-height // side), -(-width // side)
    # -1 marks padding.
    index = torch.arange(height * width).view(height, width)
    index = F.pad(index, (0, cols * side - width, 0, rows * side - height), value=-1)
    index = index.roll((-shift, -shift), (0, 1))
    region = torch.zeros_like(index)
    if shift:
        region = 3 * regions(rows * side)[:, None] + regions(cols * side)

    def windows(grid: Tensor) -> Tensor:
        """Shape (windows, N)."""
        grid = grid.view(rows, side, cols, side).transpose(1, 2)
        return grid.flatten(2).flatten(0, 1)

    index, region = windows(index), windows(region)
    # Windows of one pattern (which places are real, which region each is of) are a
    # group.
    patterns, pattern_of_window = torch.cat([index >= 0, region], 1).unique(
        dim=0, return_inverse=True
    )
    orders, groups = [], []
    for number, pattern in enumerate(patterns):
        is_real, region_of_place = pattern.chunk(2)
        group_index = index[pattern_of_window == number]
        real = is_real.nonzero()[:, 0]
        if not len(real):
            continue  # no queries, and no keys of another window
        images = torch.arange(batch)[:, None, None] * (height * width)
        orders.append((images + group_index[:, real]).flatten())
        apart = region_of_place[real][:, None] != region_of_place[None]
        groups.append(
            WindowGroup(
                num_windows=batch * len(group_index),
                real=real.to(device),
                padding=(is_real == 0).nonzero()[:, 0].to(device),
                mask=(MASKED * apart.float()).to(device) if apart.any() else None,
            )
        )
    order = torch.cat(orders)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return WindowLayout(order.to(device), inverse.to(device), tuple(groups))
