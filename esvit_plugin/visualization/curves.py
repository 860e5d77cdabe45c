"""Learning curves of one or several runs."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import figure_text, new_figure
from .logs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What the keys of logs are called for a reader, with their units.
NAMES = {
    'loss': 'loss',
    'loss_view': 'view loss',
    'loss_region': 'region loss',
    'teacher_entropy': "entropy of the teacher's output [nats]",
    'prototypes_used': "prototypes that the teacher's outputs use",
    'feature_spread': 'spread of features (0: all equal, 1: widest)',
    'region_entropy': "entropy of the teacher's output for a region [nats]",
    'region_prototypes_used': 'prototypes that regions use',
    'region_spread': 'spread of regions (0: equal, 1: widest)',
    'lr': 'learning rate',
    'base_lr': 'learning rate before factors of layers',
    'weight_decay': 'weight decay',
    'momentum': 'momentum of the optimiser',
    'teacher_temp': 'teacher temperature',
    'teacher_momentum': 'teacher momentum',
    'random_neighbor': 'random neighbours of ViL (1: yes)',
    'grad_norm': 'norm of the gradient',
    'grad_norm_first': 'gradient norm of the first layer',
    'grad_norm_last': 'gradient norm of the last layer',
    'time': 'time of an iteration [s]',
    'data_time': 'waiting for data [s]',
    'memory': 'memory of the GPU [MB]',
}
# What a run is drawn with unless one asks for others, those of them that it has.
DEFAULT_KEYS = (
    'loss_view',
    'loss_region',
    'knn/top1_k20',
    'teacher_entropy',
    'feature_spread',
    'region_spread',
    'lr',
    'grad_norm_first',
    'grad_norm_last',
)
_STYLES = ('--', ':', '-.')
UNIFORM = 'uniform output (ln K × weight of the loss)'
_KNN = re.compile(r'knn/top(\d+)_k(\d+)')


def plain_name(key: str) -> str:
    """What a key of a log is called in pictures, with its unit."""
    if match := _KNN.fullmatch(key):
        top, k = match.groups()
        return f'{k}-NN {"" if top == "1" else f"top-{top} "}accuracy [%]'
    if match := re.fullmatch(r'accuracy/top(\d+)', key):
        return f'top-{match[1]} accuracy [%]'
    if match := re.fullmatch(r'accuracy/x([\d.e+-]+)', key):
        return f'top-1 accuracy at {match[1]} × the learning rate [%]'
    return NAMES.get(key, key)


def default_keys(runs: Sequence[Run]) -> list[str]:
    """The keys of ``DEFAULT_KEYS`` that runs have, or others in their place."""
    known = {key: None for run in runs for key in run.steps}
    keys = [key for key in DEFAULT_KEYS if key in known]
    if not any(key.startswith('loss_') for key in keys) and 'loss' in known:
        keys.insert(0, 'loss')
    if 'knn/top1_k20' not in keys:
        # Of a linear probe first that of the best learning rate.
        accuracy = [key for key in known if key.startswith(('knn/top1', 'accuracy/'))]
        keys += sorted(accuracy, key=lambda key: 'top1' not in key)[:1]
    return keys


def draw_runs(
    runs: Mapping[str, Run],
    keys: Sequence[str] | None = None,
    baselines: Mapping[str, float] | None = None,
) -> 'Figure':
    """Draw the learning curves of runs, with what they are to be compared with.

    The axis has epochs, or iterations where the log of a run does not tell how many an
    epoch has. Losses and the teacher's entropy have a line at ln K, weighted as the
    loss is; k-NN accuracies at the baselines that are known.

    Args:
        runs: What ``read_run`` found, by name.
        keys: Keys of the logs, a panel for each. Defaults to None, ``default_keys``.
        baselines: k-NN accuracy in percent by name, besides those of the logs.
            Defaults to None.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    in_epochs = all(run.epochs is not None for run in runs.values())
    keys = default_keys(list(runs.values())) if keys is None else keys
    panels, references = {}, {}
    for key in keys:
        curves = {
            name: scalars[key]
            for name, run in runs.items()
            if key in (scalars := run.epochs if in_epochs and run.epochs else run.steps)
        }
        title = plain_name(key)
        if _KNN.match(key):
            lines = _baselines(runs) | dict(baselines or {})
            references[title] = _joined(lines) if key.startswith('knn/top1_') else {}
        else:
            uniform = {n: r.uniform[key] for n, r in runs.items() if key in r.uniform}
            if uniform and key.startswith('loss'):
                weights = {weight for weight, _ in uniform.values()} - {1.0}
                factor = f' × {weights.pop():g}' if len(weights) == 1 else ''
                title = f'{title}{factor} [nats]'
            values = {name: value for name, (_, value) in uniform.items()}
            references[title] = _told_apart(UNIFORM, values)
        panels[title] = curves
    return draw_curves(panels, 'epoch' if in_epochs else 'iteration', references)


def _baselines(runs: Mapping[str, Run]) -> dict[str, float]:
    """Baselines of all runs."""
    lines = {}
    for what in dict.fromkeys(what for run in runs.values() for what in run.baselines):
        values = {n: r.baselines[what] for n, r in runs.items() if what in r.baselines}
        lines.update(_told_apart(what, values))
    return lines


def _joined(lines: Mapping[str, float]) -> dict[str, float]:
    """One line with all names where lines would hide each other."""
    names: dict[float, list[str]] = {}
    for name, value in lines.items():
        names.setdefault(round(value, 1), []).append(name)
    return {' and '.join(same): lines[same[0]] for same in names.values()}


def _told_apart(what: str, values: Mapping[str, float]) -> dict[str, float]:
    """One line where all runs have the same value, else one for each."""
    if len(set(values.values())) == 1:
        return {what: next(iter(values.values()))}
    return {f'{what}, {name}': value for name, value in values.items()}


def draw_curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    x_label: str = 'iteration',
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> 'Figure':
    """Draw curves, one axis per panel.

    Where no value is negative the axis begins at 0, so that noise looks as small as it
    is. The names stand below all panels; panels without a curve are left out.

    Args:
        panels: Title of each panel, and the name and points (x, y) of its curves.
            A name has the same colour in all panels.
        x_label: Label of the horizontal axes. Defaults to 'iteration'.
        references: Title of panels, and the name and value of horizontal lines there.
            A name has the same style in all panels. Defaults to None.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    panels = {title: curves for title, curves in panels.items() if curves}
    references = references or {}
    columns = min(len(panels), 2 if len(panels) in (2, 4) else 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(7 if columns == 1 else 4.2 * columns, 3.2 * rows + 0.6)
    figure.set_layout_engine('constrained')
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(panels) :]:
        axis.remove()
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    lines = list(
        dict.fromkeys(n for title in panels for n in references.get(title, ()))
    )
    handles = {}
    x_end = max(x for curves in panels.values() for c in curves.values() for x, _ in c)
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for name, points in curves.items():
            colour = f'C{names.index(name) % 10}'
            # Dots where a line would hide how few points there are.
            marker = '.' if len(points) <= 50 else None
            (handles[name],) = axis.plot(
                *zip(*points, strict=True), label=name, marker=marker, color=colour
            )
        for name, value in references.get(title, {}).items():
            number = lines.index(name)
            style = dict(color=str(min(0.5, 0.15 * number)), ls=_STYLES[number % 3])
            handles[name] = axis.axhline(value, label=name, lw=1.2, **style)
        axis.set(title=figure_text(title), xlabel=x_label)
        axis.grid(alpha=0.3)
        if x_end > 0:
            axis.set_xlim(0, 1.02 * x_end)
        _show_zero(axis, percent='%' in title)
    shown = [name for name in names if len(names) > 1] + lines
    if shown:
        figure.legend(
            [handles[name] for name in shown],
            [figure_text(name) for name in shown],
            loc='outside lower center',
            ncols=min(len(shown), columns + 1),
            frameon=False,
        )
    return figure


def _show_zero(axis: 'Axes', percent: bool) -> None:
    """Begin the axis at 0, or what is close to 1 alone, such as a momentum, at that."""
    values = np.concatenate([np.asarray(line.get_ydata()) for line in axis.lines])
    values = values[np.isfinite(values)]
    if not len(values) or values.min() < 0:
        return
    low, top = float(values.min()), float(values.max())
    if low > 0.9 and top <= 1:
        margin = 0.1 * (1 - low) + 1e-4
        axis.set_ylim(low - margin, 1 + margin)
        return
    axis.set_ylim(0, min(100, 1.1 * top) if percent and top <= 100 else 1.1 * top or 1)
