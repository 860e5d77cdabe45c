"""Draw what a config changes over its training: nothing is trained.

The learning rate and the weight decay of the optimiser, as the config's schedulers set
them, and what its hooks set, such as the teacher's momentum and temperature. Factors
for single layers are left out.
"""

import argparse
from pathlib import Path

from ..engine.checkpoints import atomic_file
from ..engine.cli import check_at_least, check_output
from ..engine.configs import drop_late_schedules, load_config
from ..engine.options import add_config_options, check_out_option
from ..visualization import draw_schedules, read_schedules
from ..visualization.curves import plain_name
from ..visualization.figures import check_matplotlib


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a training, or its name')
    parser.add_argument('-o', '--out', required=True, help='picture to write, *.png')
    parser.add_argument(
        '--epoch-length',
        type=int,
        default=100,
        help='iterations of an epoch: images / (batch size x processes); default 100. '
        'Few schedules depend on it: those counted in iterations, and a momentum of '
        'the teacher with start_share',
    )
    add_config_options(parser)
    args = parser.parse_args()
    check_out_option(parser, args.out, '.png')
    return args


def main() -> None:
    """Step through the schedules and draw them."""
    args = parse_args()
    check_at_least(1, epoch_length=args.epoch_length)
    check_output(args.out)
    check_matplotlib()
    cfg = load_config(args.config, args.cfg_options)
    drop_late_schedules(cfg)
    schedules = read_schedules(cfg, args.epoch_length)
    with atomic_file(args.out) as part:
        draw_schedules(schedules, Path(args.config).stem).savefig(part)
    for key, points in schedules.items():
        values = [value for _, value in points]
        print(
            f'{plain_name(key)}: {values[0]:.4g} at first, {values[-1]:.4g} at last, '
            f'{min(values):.4g} to {max(values):.4g}'
        )
    print(
        f'{args.out}: {cfg.train_cfg.max_epochs} epochs of {args.epoch_length} '
        'iterations'
    )
