"""A picture of images and of those most similar to them."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.image_files import cut_image
from ..datasets.transforms import LoadImage
from ..evaluation.search import Neighbours
from .figures import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Side of a picture: in inches, and in pixels.
SIDE, PIXELS = 1.8, 224
# Colour and line of what is right, what is wrong, and what is asked for.
FRAMES = {True: ('#0072b2', '-'), False: ('#e69f00', ':'), None: ('black', '-')}
# More than these is no picture to look at.
MAX_QUERIES, MAX_NEIGHBOURS = 20, 12


def draw_neighbours(
    rows: Sequence[Neighbours], bit_depth: int | None = None
) -> 'Figure':
    """Draw each image and, to its right, those most similar to it.

    Images are cut as the model sees them. One that cannot be read any more is an empty
    box with its name. The first 20 images and 12 neighbours of each are drawn.

    Args:
        rows: What ``similar_images`` gives; one row for each.
        bit_depth: As of ``ImageFiles``. Defaults to None.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    rows = rows[:MAX_QUERIES]
    columns = 1 + min(max(len(row.paths) for row in rows), MAX_NEIGHBOURS)
    figure = new_figure(SIDE * columns + 0.2, (SIDE + 0.45) * len(rows) + 0.2)
    figure.set_layout_engine('constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, row_axes in zip(rows, axes, strict=True):
        for axis in row_axes:
            axis.axis('off')
        image = _load(row.query, bit_depth)
        _show(row_axes[0], image, f'query\n{_short(row.query)}', 'black')
        rest = zip(row_axes[1:], row.paths, row.similarities, strict=False)
        for axis, path, similarity in rest:
            image = _load(path, bit_depth)
            _show(axis, image, f'cosine {similarity:.3f}\n{_short(path)}')
    return figure


def draw_retrievals(
    queries: Sequence[Any], found: Mapping[str, Sequence[Sequence[tuple[Any, bool]]]]
) -> 'Figure':
    """Draw images, each with what several models find most similar to it.

    Args:
        queries: RGB uint8 images (H, W, 3).
        found: By the model's name: for each query the images that are nearest, the
            nearest first, and whether each is of the query's class.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    columns: dict[str, Any] = {
        'unseen': [[(query, None)] for query in queries],
        **found,
    }
    widths = [len(rows[0]) for rows in columns.values()]
    side = 0.9
    figure = new_figure(
        side * sum(widths) + 0.5 * len(found) + 0.4, side * len(queries) + 1.0
    )
    figure.set_layout_engine('constrained')
    parts: Any = figure.subfigures(1, len(widths), width_ratios=widths, wspace=0.05)
    for part, width, (title, rows) in zip(parts, widths, columns.items(), strict=True):
        part.suptitle(figure_text(title), fontsize=10)
        grid: Any = part.subplots(len(queries), width, squeeze=False)
        for axes, images in zip(grid, rows, strict=True):
            for axis, (image, is_right) in zip(axes, images, strict=True):
                _frame(axis, image, *FRAMES[is_right])
    figure.supxlabel('blue: of the same class; orange, dotted: of another', fontsize=9)
    return figure


def _show(axis: Any, image: Any, title: str, frame: str = 'none') -> None:
    if image is None:
        image = np.full((PIXELS, PIXELS, 3), 235, np.uint8)
        axis.text(PIXELS / 2, PIXELS / 2, 'not found', ha='center', va='center')
    axis.set_title(figure_text(title), fontsize=8)
    _frame(axis, image, frame)


def _frame(axis: Any, image: Any, color: str, style: str = '-') -> None:
    axis.imshow(image)
    axis.axis('on')
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(color=color, linewidth=2, linestyle=style)


def _load(path: str, bit_depth: int | None) -> np.ndarray | None:
    """The RGB image (S, S, 3) as evaluations cut it, None where there is none."""
    loader: Any = LoadImage(on_error='skip', bit_depth=bit_depth)
    cut: Any = cut_image(PIXELS)
    results = loader.transform(dict(img_path=os.path.expanduser(path)))
    if results is None:
        return None
    return cut(results)['inputs'].flip(0).permute(1, 2, 0).numpy()


def _short(path: str) -> str:
    """The folder and name of a file, as much as fits above a picture."""
    folder, name = os.path.split(path)
    text = '/'.join(part for part in (os.path.basename(folder), name) if part)
    return text if len(text) <= 28 else f'...{text[-25:]}'
