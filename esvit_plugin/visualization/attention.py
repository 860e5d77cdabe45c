"""A picture of where the heads of a block look."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..evaluation.attention import BlockAttention, Query
from ..evaluation.attention_statistics import mass_mask
from .figures import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In pixels: between cells, and above them for their titles; above and below all cells.
_GAP = 6
_TITLE = 22
_HEAD = 26
_FOOT = 66
_COLOURS = 'inferno'
_FRAME = (0.0, 1.0, 1.0)
# Neither bright nor dark, as what it does not cover may be either.
_COVER = (0.35, 0.15, 0.5)


def draw_attention(
    image: np.ndarray,
    attention: BlockAttention,
    queries: Sequence[Query],
    max_columns: int = 8,
    heads: Sequence[int] | None = None,
    entropy: Sequence[float] | None = None,
    mass: float | None = None,
    title: str = '',
) -> 'Figure':
    """Draw where every head looks from each query, the heads side by side.

    Each query has a line: the image with the query marked, the mean over the heads,
    then the heads, on further lines where there are many. Bright is where a head
    looks; each map ends at its own highest weight. With ``mass`` each cell shows
    instead the smallest part of the image that holds so much of the attention. What a
    query is, and the scale of the colours, stand below.

    Args:
        image: RGB uint8 array of shape (H, W, 3).
        attention: Attention in this image alone, weights (1, heads, ...).
        queries: Positions (row, column) of the map, or 'cls'.
        max_columns: Heads on a line. Defaults to 8.
        heads: Which heads, in which order, from 0. Defaults to None, all of them.
        entropy: Entropy of every head in nats, to be written above it.
            Defaults to None.
        mass: Share of the attention in (0, 1] that is uncovered. Defaults to None,
            maps of the weights.
        title: What stands above all, such as the name of the image. Defaults to none.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no such query, or ``mass`` is outside (0, 1].
        ImportError: If matplotlib is missing.
    """
    maps = [attention.of_query(query)[0].cpu() for query in queries]
    order = range(len(maps[0])) if heads is None else heads
    lines = -(-len(order) // max_columns)  # of a query
    columns = 2 + min(len(order), max_columns)
    height, width = image.shape[:2]
    # Smaller cells where there are many of them.
    scale = (224 if columns <= 6 else 144) / max(height, width)
    height, width = round(height * scale), round(width * scale)
    small = np.asarray(Image.fromarray(image).resize((width, height))) / 255
    # One picture of all cells: a hundred axes would take seconds.
    above = _HEAD if title else 0
    bottom = above + len(queries) * lines * (height + _TITLE)
    # At least so wide that the text has room.
    canvas = np.ones((bottom + _FOOT, max(columns * (width + _GAP), 600), 3))
    figure = new_figure(canvas.shape[1] / 100, canvas.shape[0] / 100, dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis('off')

    def show(line: int, column: int, picture: np.ndarray, title: str) -> None:
        top = above + (line + 1) * _TITLE + line * height
        left = _GAP // 2 + column * (width + _GAP)
        canvas[top : top + height, left : left + width] = picture
        middle = left + width / 2
        axis.text(middle, top - 5, title, fontsize=9, ha='center', va='bottom')

    for number, (query, weights) in enumerate(zip(queries, maps, strict=True)):
        line = number * lines
        label = 'class token' if query == 'cls' else f'query {query[0]},{query[1]}'
        show(line, 0, _framed(small, query, attention.grid), label)
        mean = _cell(small, weights.mean(0), mass)
        show(line, 1, _framed(mean, query, attention.grid), 'mean of the heads')
        for place, head in enumerate(order):
            further, column = divmod(place, max_columns)
            cell = _cell(small, weights[head], mass)
            text = f'head {head + 1}'
            if entropy is not None:
                text += f': {entropy[head]:.2f} nats'
            picture = _framed(cell, query, attention.grid)
            show(line + further, column + 2, picture, text)
    axis.imshow(canvas, interpolation='none')
    if title:
        axis.text(_GAP, _HEAD / 2, figure_text(title), fontsize=11, va='center')
    _explain(figure, attention.grid, 'cls' in queries, entropy is not None, mass)
    return figure


def _explain(
    figure: 'Figure',
    grid: tuple[int, int],
    has_class_token: bool,
    has_entropy: bool,
    mass: float | None,
) -> None:
    """Say below the cells what they show."""
    import matplotlib
    from matplotlib.cm import ScalarMappable

    rows, cols = grid
    token = ', or the class token' if has_class_token else ''
    query = (
        f'Query: the position that looks, framed in cyan (row,column of {rows} × '
        f'{cols}, from 0,0){token}.'
    )
    entropy = (
        'nats: entropy of a head over all images and queries, low where it looks at '
        'little.'
        if has_entropy
        else ''
    )
    width, height = (100 * side for side in figure.get_size_inches())
    kind: dict[str, Any] = dict(fontsize=9, va='center')
    place = _GAP / width
    if mass is None:
        bar = figure.add_axes((place, 42 / height, 120 / width, 10 / height))
        colours = ScalarMappable(cmap=matplotlib.colormaps[_COLOURS])
        figure.colorbar(colours, cax=bar, orientation='horizontal', ticks=())
        scale = 'attention, from 0 to the highest of each map'
        place += 128 / width
    else:
        share = f'{100 * mass:g} % of the attention'
        scale = f'Uncovered: the fewest positions that hold {share}.'
    figure.text(place, 47 / height, scale, **kind)
    figure.text(_GAP / width, 29 / height, query, **kind)
    figure.text(_GAP / width, 12 / height, entropy, **kind)


def _cell(image: np.ndarray, weights: Tensor, mass: float | None) -> np.ndarray:
    """The image in the colours of weights (H, W), or covered outside their mass."""
    if mass is None:
        return _overlay(image, weights)
    mask = mass_mask(weights, mass)[None, None].float()
    seen = F.interpolate(mask, image.shape[:2], mode='nearest-exact')[0, 0]
    covered = 0.3 * image.mean(-1, keepdims=True) + 0.7 * np.array(_COVER)
    return np.where(seen.numpy()[..., None] > 0, image, covered)


def _overlay(image: np.ndarray, weights: Tensor) -> np.ndarray:
    """The grey image in the colours of weights (H, W), bright where these are high."""
    import matplotlib

    heat = F.interpolate(
        weights[None, None], image.shape[:2], mode='bilinear', align_corners=False
    )[0, 0]
    heat = heat / heat.max().clamp(min=1e-12)
    colour = matplotlib.colormaps[_COLOURS](heat.numpy())[..., :3]
    return 0.4 * image.mean(-1, keepdims=True) + 0.6 * colour


def _framed(image: np.ndarray, query: Query, grid: tuple[int, int]) -> np.ndarray:
    """A copy with a frame around the query's position, if it has one."""
    image = image.copy()
    if isinstance(query, str):
        return image
    (top, left), (bottom, right) = (
        [
            round((q + end) * side / n)
            for q, side, n in zip(query, image.shape, grid, strict=False)
        ]
        for end in (0, 1)
    )
    inside = image[top + 2 : bottom - 2, left + 2 : right - 2].copy()
    image[top:bottom, left:right] = _FRAME
    image[top + 2 : bottom - 2, left + 2 : right - 2] = inside
    return image
