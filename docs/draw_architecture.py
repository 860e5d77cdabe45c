"""Draw docs/architecture.png, the data's way through EsViT; needs matplotlib."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch  # noqa: E402

OUT = Path(__file__).resolve().with_name('architecture.png')
INK = '#1f2933'
SMALL = dict(size=8.5, color=INK)
VA = {True: 'bottom', False: 'top'}
DATA, STUDENT, TEACHER, LOSS = '#e9edf2', '#d6e6fb', '#fde8cf', '#d9f0dd'
HEIGHT = 0.95


def box(ax, x, y, width, text, colour, height=HEIGHT):
    """A rounded box with its centre at (x, y); bold is the first line of its text."""
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle='round,pad=0,rounding_size=0.12',
            facecolor=colour,
            edgecolor=INK,
            linewidth=1.1,
        )
    )
    title, _, rest = text.partition('\n')
    shift = 0.11 * (rest.count('\n') + 1) if rest else 0
    ax.text(x, y + shift, title, ha='center', va='center', weight='bold', color=INK)
    if rest:
        ax.text(x, y - 0.19, rest, ha='center', va='center', **SMALL)


def arrow(ax, start, end, style='-', bend=0.0):
    """An arrow between two points."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle='-|>',
            mutation_scale=12,
            linewidth=1.2,
            linestyle=style,
            color=INK,
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f'arc3,rad={bend}',
        )
    )


def lane(ax, y, name, colour, views):
    """One network: its backbone, what it gives, and the two necks."""
    box(ax, 5.35, y, 2.3, f'{name}\n{views}', colour)
    for side, feature, neck in (
        (0.75, 'views (B, n, C)', 'neck'),
        (-0.75, 'regions (B, n, T, C)', 'region_neck'),
    ):
        arrow(ax, (6.5, y + side / 4), (8.15, y + side))
        ax.text(7.3, y + side, feature, ha='center', va=VA[side > 0], **SMALL)
        box(ax, 9.0, y + side, 1.7, f'{neck}\nDINOProjection', colour)


def draw():
    """The whole picture."""
    figure, ax = plt.subplots(figsize=(12.8, 5.6))
    ax.set(xlim=(-0.1, 14.1), ylim=(-3.35, 3.05))
    ax.axis('off')
    box(ax, 0.85, 0, 1.5, 'Image\nno label', DATA)
    box(ax, 3.0, 0, 1.8, 'MultiCrop\n2 x 224, 8 x 96 px', DATA)
    arrow(ax, (1.6, 0), (2.1, 0))
    top, bottom = 1.65, -1.65
    lane(ax, top, 'Student backbone', STUDENT, 'gradients')
    lane(ax, bottom, 'Teacher backbone', TEACHER, 'no gradients')
    arrow(ax, (3.3, 0.48), (4.2, top), bend=-0.25)
    ax.text(2.95, 1.3, 'all 10 views', ha='center', **SMALL)
    arrow(ax, (3.3, -0.48), (4.2, bottom), bend=0.25)
    ax.text(2.9, -1.45, '2 global views', ha='center', **SMALL)
    arrow(ax, (5.35, top - HEIGHT / 2), (5.35, bottom + HEIGHT / 2), style='--')
    ema = 'after each step:\nteacher = m teacher\n+ (1 - m) student'
    ax.text(5.45, 0, ema, va='center', **SMALL)
    heads = {
        0.78: 'DINOViewHead\n$L_V$: every view against\nthe other global views',
        -0.78: 'RegionMatchingHead\n$L_R$: regions against the\nmost similar ones',
    }
    for y, text in heads.items():
        box(ax, 12.6, y, 2.6, text, LOSS, height=1.25)
        for network, shift in ((top, 0.25), (bottom, -0.25)):
            side = 0.75 if y > 0 else -0.75
            arrow(ax, (9.85, network + side), (11.3, y + shift))
    middle = dict(ha='center', **SMALL)
    ax.text(12.6, 2.35, 'They score the bottleneck features', **middle)
    ax.text(12.6, 2.05, 'and prototypes of the necks.', **middle)
    notes = (
        'Each has a centre, the running mean',
        "of the teacher's logits.",
        'Loss = 0.5 $L_V$ + 0.5 $L_R$',
    )
    for line, note in enumerate(notes):
        ax.text(12.6, -1.85 - 0.3 * line, note, **middle)
    figure.savefig(OUT, dpi=110, bbox_inches='tight', facecolor='white')


if __name__ == '__main__':
    draw()
