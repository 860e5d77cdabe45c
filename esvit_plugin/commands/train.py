"""Train a model; the options are those of mmpretrain's ``tools/train.py``."""

import argparse
import os
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.optim import AmpOptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS

from ..engine.checkpoint_paths import check_checkpoints
from ..engine.launch import prepare_launch, restarted_jobs
from ..engine.options import add_launch_options, load_run_config, set_loader_options
from ..engine.training_data import build_training_runner
from ..type_names import type_name

_AMP_WRAPPERS = {
    'OptimWrapper': 'mmpretrain.MixedPrecisionOptimWrapper',
    'AmpOptimWrapper': 'mmpretrain.MixedPrecisionOptimWrapper',
    'PerParamClipOptimWrapper': 'mmpretrain.PerParamClipAmpOptimWrapper',
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or its name')
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
        help='scale the learning rate by the batch (images x processes x accumulated '
        'iterations) over the original one',
    )
    add_launch_options(parser)
    return parser.parse_args()


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Carry the options of the command line over to the config.

    Raises:
        FileNotFoundError: If the checkpoint to go on from does not exist.
        ValueError: If ``--auto-scale-lr`` lacks its setting, or the optimiser wrapper
            has no twin of mixed precision.
    """
    set_loader_options(cfg, args)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.resume is not None:
        auto = args.resume == 'auto'
        # Started again, the job goes on from one of its own, and this one may be gone.
        local = not auto and '://' not in args.resume and restarted_jobs() is None
        if local and not os.path.isfile(args.resume):
            raise FileNotFoundError(f'--resume: there is no checkpoint {args.resume}.')
        cfg.resume = 'auto' if auto else True
        if not auto:
            cfg.load_from = args.resume
        elif cfg.get('runner_type') != 'EsViTRunner':
            cfg.load_from = None  # as mmpretrain, whose Runner would resume from it
    if args.amp:
        cfg.optim_wrapper.type = _amp_wrapper(cfg.optim_wrapper)
    if args.auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise ValueError(
                f'--auto-scale-lr: {args.config} does not say for which batch its '
                'learning rate is, auto_scale_lr=dict(base_batch_size=...).'
            )
        cfg.auto_scale_lr.enable = True


def _amp_wrapper(cfg: ConfigDict) -> Any:
    """The type of an optimiser wrapper in mixed precision."""
    name = type_name(cfg, 'OptimWrapper')
    if name in _AMP_WRAPPERS:
        return _AMP_WRAPPERS[name]
    wrapper = cfg.type
    if isinstance(wrapper, str):
        wrapper = OPTIM_WRAPPERS.get(wrapper)
    if not (isinstance(wrapper, type) and issubclass(wrapper, AmpOptimWrapper)):
        raise ValueError(
            f'--amp: {name} has no twin of mixed precision; set optim_wrapper.type to '
            f'one of {", ".join(_AMP_WRAPPERS)}, or leave out --amp.'
        )
    return wrapper


def main() -> None:
    """Build the Runner of the config and train."""
    args = parse_args()
    cfg = load_run_config(args)
    merge_args(cfg, args)
    check_checkpoints(cfg)
    prepare_launch(cfg, args.launcher)
    build_training_runner(cfg).train()
