"""Pictures of all layers of vision transformers."""

from typing import TYPE_CHECKING

from torch import Tensor

from ..evaluation.attention_distance import AttentionSpread
from .figures import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_cka(
    cka: Tensor, first: str = 'first model', second: str = 'second model'
) -> 'Figure':
    """Draw how similar the layers of two models are, as a heat map.

    Args:
        cka: Shape (P, Q), of ``layer_cka``.
        first: Name of the model whose layers are the rows, from below.
            Defaults to 'first model'.
        second: Name of the one whose layers are the columns.
            Defaults to 'second model'.

    Returns:
        The figure; colours go from 0 to 1.

    Raises:
        ImportError: If matplotlib is missing.
    """
    rows, cols = cka.shape
    figure = new_figure(max(4.8, 0.42 * cols + 1.8), max(4, 0.42 * rows + 1.2))
    figure.set_layout_engine('constrained')
    axis = figure.subplots()
    image = axis.imshow(cka.numpy(), vmin=0, vmax=1, origin='lower', cmap='magma')
    figure.colorbar(image, ax=axis, label='CKA')
    axis.set(
        xticks=range(cols),
        yticks=range(rows),
        xlabel=f'{figure_text(second)}: after block',
        ylabel=f'{figure_text(first)}: after block',
        title='Similarity of layers (0: patch embedding)',
    )
    return figure


def draw_attention_spread(spread: AttentionSpread, title: str = '') -> 'Figure':
    """Draw the attention distance and entropy of all heads over the blocks.

    A dot is a head; a line joins the means of the blocks. Dashed is a head that looks
    everywhere alike.

    Args:
        spread: Of ``attention_spread``.
        title: Defaults to none.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    figure = new_figure(10, 4)
    figure.set_layout_engine('constrained')
    panels = (
        ('attention distance (pixels)', spread.distance),
        ('attention entropy (nats)', spread.entropy),
    )
    axes = figure.subplots(1, 2)
    for axis, (label, values), alike in zip(axes, panels, spread.uniform, strict=True):
        numbers = range(1, len(values) + 1)
        for number, heads in zip(numbers, values, strict=True):
            axis.scatter(
                [number] * len(heads),
                heads,
                s=22,
                color='tab:blue',
                alpha=0.6,
                linewidths=0,
                label='a head' if number == 1 else None,
            )
        means = [float(heads.mean()) for heads in values]
        axis.plot(numbers, means, color='tab:orange', label='mean of the heads')
        axis.axhline(alike, color='grey', linestyle='--', label='uniform attention')
        top = 1.06 * max(alike, float(values.max()))
        axis.set(xlabel='block', ylabel=label, ylim=(0, top), xticks=numbers)
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].legend(fontsize=9, loc='lower right')
    figure.suptitle(figure_text(title))
    return figure
