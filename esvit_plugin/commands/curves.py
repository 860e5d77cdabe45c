"""Learning curves of one or several runs, a panel for each key of their logs.

RUN is a work folder, whose resumed parts are joined, or a log of mmengine
(vis_data/scalars.json, or another with one JSON object per line).
"""

import argparse

from ..engine.checkpoints import atomic_file
from ..engine.cli import check_output
from ..engine.options import check_out_option
from ..visualization import draw_runs, read_run, run_names
from ..visualization.curves import default_keys
from ..visualization.figures import check_matplotlib


def baseline(text: str) -> tuple[str, float]:
    """A baseline of the command line."""
    name, sign, value = text.rpartition('=')
    try:
        if not sign or not name:
            raise ValueError
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'a baseline is NAME=PERCENT, e.g. "raw pixels=40.1": {text!r}'
        ) from None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('runs', nargs='+', metavar='RUN')
    parser.add_argument('-o', '--out', required=True, help='picture to write, *.png')
    parser.add_argument(
        '--keys',
        nargs='+',
        help='what to draw; default losses, k-NN accuracy, signs of collapse and the '
        'learning rate, as far as the logs have them',
    )
    parser.add_argument(
        '--baselines',
        nargs='+',
        type=baseline,
        default=[],
        metavar='NAME=PERCENT',
        help='k-NN accuracies to compare with; those that quickstart.py measured are '
        'known from the log',
    )
    args = parser.parse_args()
    check_out_option(parser, args.out, '.png')
    return args


def main() -> None:
    """Read and draw."""
    args = parse_args()
    check_output(args.out, *args.runs)
    check_matplotlib()
    runs = dict(zip(run_names(args.runs), map(read_run, args.runs), strict=True))
    keys = args.keys or default_keys(list(runs.values()))
    known = sorted({key for run in runs.values() for key in run.steps})
    if not known:
        raise ValueError(f'{", ".join(args.runs)}: nothing is logged there yet.')
    if not keys:
        raise ValueError(f'Choose --keys from {", ".join(known)}.')
    for key in keys:
        if key not in known:
            raise ValueError(
                f'No run has the key {key!r}; choose --keys from {", ".join(known)}.'
            )
        for name, run in runs.items():
            if key not in run.steps:
                print(f'{name} has no {key}.')
    with atomic_file(args.out) as part:
        draw_runs(runs, keys, dict(args.baselines)).savefig(part)
    print(f'{args.out}: {", ".join(keys)} of {", ".join(runs)}')
