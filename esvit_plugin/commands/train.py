"""Train a model; the options are those of mmpretrain's ``tools/train.py``."""

import argparse
import os

from mmengine.config import Config

from ..engine.launch import build_runner, prepare_launch
from ..engine.options import add_launch_options, load_run_config

_AMP_WRAPPERS = {
    'OptimWrapper': 'AmpOptimWrapper',
    'PerParamClipOptimWrapper': 'PerParamClipAmpOptimWrapper',
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a path from the latest in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='train with automatic mixed precision'
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='skip validation during training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the actual over the original batch size',
    )
    add_launch_options(parser)
    return parser.parse_args()


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Carry the options of the command line over to the config.

    Raises:
        FileNotFoundError: If the checkpoint to go on from does not exist.
        ValueError: If ``--auto-scale-lr`` lacks its setting.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.resume is not None:
        local = args.resume != 'auto' and '://' not in args.resume
        if local and not os.path.isfile(args.resume):
            raise FileNotFoundError(f'--resume: there is no checkpoint {args.resume}.')
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.amp:
        wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
        cfg.optim_wrapper.type = _AMP_WRAPPERS.get(wrapper, wrapper)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                f'--auto-scale-lr: {args.config} does not say for which batch its '
                'learning rate is, auto_scale_lr=dict(base_batch_size=...).'
            )
        cfg.auto_scale_lr.enable = True


def main() -> None:
    """Build the Runner of the config and train."""
    args = parse_args()
    cfg = load_run_config(args)
    merge_args(cfg, args)
    prepare_launch(cfg, args.launcher)
    build_runner(cfg).train()
