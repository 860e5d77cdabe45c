"""A picture of which regions of two views correspond."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.correspondence import Matches, region_centres
from ..evaluation.view_pairs import ViewPair
from .figures import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of right and wrong matches, and of those between two images, which are neither: name,
# and style. The colours are told apart by colour-blind people, too (Okabe and Ito).
_STYLES: dict[bool | None, tuple[str, dict[str, Any]]] = {
    True: ('right: the same place', dict(color='#56b4e9', linestyle='-', marker='o')),
    False: (
        'wrong: another place',
        dict(color='#e69f00', linestyle=(0, (4, 2)), marker='X'),
    ),
    None: ('match', dict(color='#f0e442', linestyle='-', marker='o')),
}
# Of a region's height, over which the ends of all matches are spread.
_SPREAD = 0.6


def draw_correspondence(
    pair: ViewPair, rows: Sequence[tuple[str, Matches]]
) -> 'Figure':
    """Draw matches between two views, one row for each network.

    A line joins two matched regions: blue and solid where the second view shows the
    same place, orange and dashed elsewhere, and yellow where there is no true place.
    Matches of one region, or along one line, are drawn a little apart: the most similar
    one at the top of its regions, the last at the bottom.

    Args:
        pair: The two views.
        rows: Name of each network, e.g. 'teacher, epoch 3', and its matches.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    from matplotlib.lines import Line2D

    views = pair.views
    height, width = views[0].shape[:2]
    gap = width // 16
    white = np.full((height, gap, 3), 255, np.uint8)
    canvas = np.concatenate([views[0], white, views[1]], axis=1)
    figure = new_figure(8, 4.4 * len(rows) + 0.3)
    figure.set_layout_engine('constrained')
    axes = figure.subplots(len(rows), 1, squeeze=False)
    kinds: set[bool | None] = set()
    for axis, (name, matches) in zip(axes[:, 0], rows, strict=True):
        axis.imshow(canvas)
        kinds.update(_draw_matches(axis, matches, (height, width), width + gap))
        axis.set_title(f'{figure_text(name)}: {describe_matches(matches)}', fontsize=10)
        for x, text in zip((0, width + gap), _captions(pair), strict=True):
            style = dict(ha='center', va='top', fontsize=9)
            axis.text(x + width / 2, height * 1.015, text, **style)
        axis.axis('off')
    shown = [_STYLES[kind] for kind in _STYLES if kind in kinds]
    figure.legend(
        [Line2D([], [], linewidth=2, markersize=7, **style) for _, style in shown],
        [name for name, _ in shown],
        loc='outside lower center',
        ncols=len(shown),
        handlelength=4,
        facecolor='0.3',
        labelcolor='white',
    )
    return figure


def describe_matches(matches: Matches) -> str:
    """The measures of matches, as pictures have them."""
    similarity = f'mean similarity {matches.similarity:.2f}'
    if matches.right is None or matches.error is None:
        return similarity
    return (
        f'{int(matches.right.sum())} of {len(matches.right)} at the true place, '
        f'{matches.error:.0f} px away on average, {similarity}'
    )


def _captions(pair: ViewPair) -> tuple[str, str]:
    """What the two views are."""
    names = [figure_text(Path(path).stem) for path in pair.paths]
    if pair.place is None:
        return names[0], names[1]
    whole = pair.place.height == pair.place.width == 1
    return names[0], 'its mirrored grey copy' if whole else 'an augmented crop of it'


def _draw_matches(
    axis: Any, matches: Matches, size: tuple[int, int], shift: int
) -> list[bool | None]:
    """Draw the lines; whether each is right, None where that cannot be said."""
    from matplotlib import patheffects

    casing = [patheffects.Stroke(linewidth=3, foreground='black'), patheffects.Normal()]
    (first, second), count = matches.pairs.T, len(matches.pairs)
    ends = [region_centres(index, matches.grid) for index in (first, second)]
    right = [None] * count if matches.right is None else matches.right.tolist()
    for number, (start, end, kind) in enumerate(zip(*ends, right, strict=True)):
        # Both ends by as much, so that lines stay parallel.
        apart = _SPREAD * ((number + 0.5) / count - 0.5) / matches.grid[0]
        (y, x), (y2, x2) = start.tolist(), end.tolist()
        axis.plot(
            [x * size[1], x2 * size[1] + shift],
            [(y + apart) * size[0], (y2 + apart) * size[0]],
            markersize=5.5,
            markeredgecolor='black',
            markeredgewidth=0.7,
            linewidth=1.6,
            path_effects=casing,
            zorder=3 if kind else 2,  # no right match lies under a wrong one
            **_STYLES[kind][1],
        )
    return right


def plot_correspondence(
    path: str, pair: ViewPair, rows: Sequence[tuple[str, Matches]]
) -> None:
    """Write the picture of ``draw_correspondence`` to a file.

    Args:
        path: File to write, e.g. a ``.png``.
        pair: The two views.
        rows: Name of each network, and its matches.

    Raises:
        ImportError: If matplotlib is missing.
    """
    draw_correspondence(pair, rows).savefig(path)
