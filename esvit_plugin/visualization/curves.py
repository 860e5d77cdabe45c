"""Learning curves from mmengine's logs."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from glob import escape, glob
from pathlib import Path
from typing import TYPE_CHECKING

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = list[tuple[float, float]]


def read_scalars(source: str) -> dict[str, Curve]:
    """Curves of a run by key, those of resumed parts joined.

    What a resumed part has trained again, from its first step on, takes the place of
    what was logged before; so does a run started anew in the same work folder.

    Args:
        source: A work folder of mmengine, one of its parts (named by its time), or a
            log, ``scalars.json`` or another with one JSON object per line.

    Returns:
        For each key its points (step, value). Steps are iterations in training, and
        what mmengine counts, mostly epochs, in validation.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no log in it.
        ValueError: If a file is no log.
    """
    records: list[tuple[float, dict]] = []
    for path in _logs(source):
        part = _read_log(path)
        first = next((r['step'] for _, r in part if 'iter' in r), math.inf)
        records = [(done, r) for done, r in records if done < first] + part
    curves: dict[str, Curve] = {}
    for _, record in records:
        for key, value in record.items():
            if key != 'step' and isinstance(value, int | float):
                curves.setdefault(key, []).append((record['step'], value))
    return curves


def _logs(source: str) -> list[str]:
    """The logs of a run, oldest first: the folders' names are times."""
    if os.path.isfile(source):
        return [source]
    if not os.path.isdir(source):
        raise FileNotFoundError(f'There is no log or work folder {source}.')
    inside = os.path.join('vis_data', 'scalars.json')
    logs = [
        path
        for pattern in (inside, os.path.join('*', inside))
        for path in sorted(glob(os.path.join(escape(source), pattern)))
    ]
    if not logs:
        raise FileNotFoundError(
            f'There is no {inside} in {source} or in its folders: it is no work folder '
            'of mmengine, or the LocalVisBackend was switched off.'
        )
    return logs


def _read_log(path: str) -> list[tuple[float, dict]]:
    """Records in order, each with the last training step logged until then."""
    with open(path) as file:
        lines = [line for line in file if line.strip()]
    records: list[tuple[float, dict]] = []
    done = 0.0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            step = record['step']
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) > 1:
                break  # cut off when the program was stopped
            raise ValueError(
                f'Line {number} of {path} is no record of mmengine with a step: '
                f'{line.strip()[:60]!r}; name a work folder, or its scalars.json.'
            ) from error
        if 'iter' in record:
            done = step
        records.append((done, record))
    return records


def run_names(sources: Sequence[str]) -> list[str]:
    """Short names of runs: their folders', with as many parents as tell them apart.

    Args:
        sources: As ``read_scalars`` takes them.
    """
    parts = []
    for source in sources:
        path = Path(os.path.abspath(source))
        if path.name == 'scalars.json':
            path = path.parent.parent if path.parent.name == 'vis_data' else path.parent
        parts.append(path.with_suffix('').parts if path.is_file() else path.parts)
    length = 1
    while len({part[-length:] for part in parts}) < len(set(parts)):
        length += 1
    return ['/'.join(part[-length:]) for part in parts]


def draw_curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    x_label: str = 'step',
) -> 'Figure':
    """Draw curves, one axis per panel.

    Args:
        panels: Title of each panel, and the name and points (x, y) of its curves.
            A name has the same colour in all panels.
        x_label: Label of the horizontal axes. Defaults to 'step'.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    figure = new_figure(
        4.5 * columns if columns > 1 else 7, 3 * rows if rows > 1 else 4
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(panels) :]:
        axis.remove()
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for name, points in curves.items():
            colour = f'C{names.index(name) % 10}'
            # Dots where a line would hide how few points there are.
            marker = '.' if len(points) <= 50 else None
            axis.plot(
                *zip(*points, strict=True), label=name, marker=marker, color=colour
            )
        axis.set(title=title, xlabel=x_label)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    return figure
