"""Curves of one or several runs, one axis for each key.

RUN is a work folder, whose resumed parts are joined, or a log of mmengine
(vis_data/scalars.json, or another with one JSON object per line).
"""

import argparse

from ..engine.checkpoints import atomic_file
from ..engine.cli import check_output
from ..engine.options import check_out_option
from ..visualization import draw_curves, read_scalars, run_names
from ..visualization.figures import check_matplotlib


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('runs', nargs='+', metavar='RUN')
    parser.add_argument('-o', '--out', required=True, help='picture to write, *.png')
    parser.add_argument(
        '--keys', nargs='+', default=['loss'], help='what to draw; default loss'
    )
    args = parser.parse_args()
    check_out_option(parser, args.out, '.png')
    return args


def main() -> None:
    """Read and draw."""
    args = parse_args()
    check_output(args.out, *args.runs)
    check_matplotlib()
    runs = dict(zip(run_names(args.runs), map(read_scalars, args.runs), strict=True))
    panels = {}
    for key in args.keys:
        panels[key] = {name: run[key] for name, run in runs.items() if key in run}
        if not panels[key]:
            known = sorted({name for run in runs.values() for name in run})
            raise ValueError(
                f'No run has the key {key!r}; choose --keys from {", ".join(known)}.'
            )
        for name in runs:
            if name not in panels[key]:
                print(f'{name} has no {key}.')
    with atomic_file(args.out) as part:
        draw_curves(panels).savefig(part)
    print(f'{args.out}: {", ".join(args.keys)} of {", ".join(runs)}')
