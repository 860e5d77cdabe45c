"""A picture of features in the plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LEGEND = 20


def draw_embedding(
    points: np.ndarray, labels: Sequence[str], title: str = ''
) -> 'Figure':
    """Draw points in the plane, coloured by label.

    Up to 20 labels stand in a legend beside the picture; of more, which no eye can
    tell apart by colour, each stands at the median of its points.

    Args:
        points: Shape (N, 2).
        labels: Label of each point.
        title: Defaults to none.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    import matplotlib

    names, index = np.unique(np.asarray(labels), return_inverse=True)
    many = len(names) > MAX_LEGEND
    # Of the points' own shape, within reason, so that they fill the picture.
    spread = np.ptp(points, axis=0)
    height = 7 * float(np.clip(spread[1] / max(spread[0], 1e-12), 0.35, 1.4))
    least = 0 if many else 0.22 * len(names)  # of the legend
    figure = new_figure(7 if many else 9, max(height, least) + 0.3)
    figure.set_layout_engine('constrained')  # leaves room for the legend
    axis = figure.subplots()
    table = matplotlib.colormaps['gist_rainbow' if many else 'tab20']
    area = np.clip(20000 / len(points), 4, 40)
    handles = []
    texts = [figure_text(name) for name in names]
    for number, name in enumerate(texts):
        mine = points[index == number]
        colour = table(number / len(names)) if many else table(number)
        handles.append(
            axis.scatter(mine[:, 0], mine[:, 1], s=area, color=colour, linewidths=0)
        )
        if many:
            x, y = np.median(mine, axis=0)
            box = dict(facecolor='white', alpha=0.6, pad=0.5, linewidth=0)
            axis.text(x, y, name, fontsize=6, ha='center', va='center', bbox=box)
    axis.set(title=figure_text(title), xticks=[], yticks=[])
    # Distances count; the axis fills its room, beyond the points where it must.
    axis.set_aspect('equal', adjustable='datalim')
    if not many:
        # Given with their texts, as matplotlib leaves labels out that begin with _.
        figure.legend(
            handles, texts, loc='outside right upper', markerscale=1.5, fontsize=9
        )
    return figure
