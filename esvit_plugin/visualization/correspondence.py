"""A picture of which regions of two views correspond."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..evaluation.correspondence import is_right, region_centres
from ..evaluation.view_pairs import MIRRORED, Placement
from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of right and wrong matches, and of those between two images.
_COLOURS = {True: 'lime', False: 'red', None: 'deepskyblue'}


def draw_correspondence(
    images: tuple[np.ndarray, np.ndarray],
    grid: Sequence[int],
    matches: Sequence[tuple[str, Tensor]],
    place: Placement | None = MIRRORED,
) -> 'Figure':
    """Draw matches between two views, one row for each model.

    A line joins the centres of two matched regions; green where the second view
    shows the same place, red elsewhere, and blue where there is no true place.

    Args:
        images: The two views, RGB uint8 arrays of one shape (H, W, 3).
        grid: Height and width of the grid of regions.
        matches: Title and index pairs (M, 2) of each row.
        place: Where the second view lies in the first; None where it is of another
            image. Defaults to the mirrored copy.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    height, width = images[0].shape[:2]
    gap = np.full((height, width // 16, 3), 255, np.uint8)
    canvas = np.concatenate([images[0], gap, images[1]], axis=1)
    figure = new_figure(8, 4.3 * len(matches))
    axes = figure.subplots(len(matches), 1, squeeze=False)
    for axis, (title, pairs) in zip(axes[:, 0], matches, strict=True):
        axis.imshow(canvas)
        ends = [region_centres(index, grid) for index in pairs.T]
        right = _shown(pairs, grid, place)
        for first, second, same in zip(*ends, right, strict=True):
            (y, x), (y2, x2) = first.tolist(), second.tolist()
            xs = [x * width, x2 * width + width + gap.shape[1]]
            ys = [y * height, y2 * height]
            axis.plot(
                xs,
                ys,
                color=_COLOURS[same],
                marker='o',
                markersize=5,
                linewidth=1.5,
                zorder=3 if same else 2,  # no right match lies under a wrong one
            )
        axis.set_title(title)
        axis.axis('off')
    figure.tight_layout()
    return figure


def _shown(
    pairs: Tensor, grid: Sequence[int], place: Placement | None
) -> Sequence[bool | None]:
    """Whether each match is right, None where that cannot be said."""
    if place is None:
        return [None] * len(pairs)
    return is_right(pairs, grid, grid, place).tolist()


def plot_correspondence(
    path: str,
    images: tuple[np.ndarray, np.ndarray],
    grid: Sequence[int],
    matches: Sequence[tuple[str, Tensor]],
    place: Placement | None = MIRRORED,
) -> None:
    """Write the picture of ``draw_correspondence`` to a file.

    Args:
        path: File to write, e.g. a ``.png``.
        images: As for ``draw_correspondence``, like the others.
        grid: Height and width of the grid of regions.
        matches: Title and index pairs (M, 2) of each row.
        place: Where the second view lies in the first.

    Raises:
        ImportError: If matplotlib is missing.
    """
    draw_correspondence(images, grid, matches, place).savefig(path)
