"""Draw what a config changes over its training: nothing is trained.

The learning rate and the weight decay of the optimiser, as the config's schedulers set
them, and what its hooks set, such as the teacher's momentum and temperature. Factors
for single layers are left out.
"""

import argparse
import math
from pathlib import Path

from mmengine.config import Config

from ..engine.checkpoints import atomic_file
from ..engine.class_count import build_dataset
from ..engine.cli import check_at_least, check_output
from ..engine.configs import drop_late_schedules, load_config
from ..engine.data_folders import check_data_roots
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
        help='iterations of an epoch: images / (batch size x processes); default that '
        "of the config's images on one process, or 100 where they are not there. Few "
        'schedules depend on it: those counted in iterations, and a momentum of the '
        'teacher with start_share',
    )
    add_config_options(parser)
    args = parser.parse_args()
    check_out_option(parser, args.out, '.png')
    return args


def find_epoch_length(cfg: Config) -> tuple[int, str]:
    """The iterations of an epoch on one process, and how they are known."""
    loader = cfg.get('train_dataloader') or {}
    batch_size = loader.get('batch_size') or 1
    try:
        check_data_roots(cfg, loader)
        images = len(build_dataset(cfg, 'train_dataloader'))
    except (ValueError, OSError, KeyError):
        return 100, 'assumed, as the images are not there: --epoch-length tells'
    if loader.get('drop_last'):
        images -= images % batch_size
    return max(1, math.ceil(images / batch_size)), 'of its images on one process'


def main() -> None:
    """Step through the schedules and draw them."""
    args = parse_args()
    check_at_least(1, epoch_length=args.epoch_length)
    check_output(args.out)
    check_matplotlib()
    cfg = load_config(args.config, args.cfg_options)
    drop_late_schedules(cfg)
    length, source = args.epoch_length, '--epoch-length'
    if length is None:
        length, source = find_epoch_length(cfg)
    schedules = read_schedules(cfg, length)
    with atomic_file(args.out) as part:
        draw_schedules(schedules, Path(args.config).stem).savefig(part)
    for key, points in schedules.items():
        values = [value for _, value in points]
        print(
            f'{plain_name(key)}: {values[0]:.4g} at first, {values[-1]:.4g} at last, '
            f'{min(values):.4g} to {max(values):.4g}'
        )
    print(
        f'{args.out}: max_epochs={cfg.train_cfg.max_epochs}, epochs of {length} '
        f'iterations ({source})'
    )
