"""Command-line options that several tools have."""

import argparse
import os

from mmengine.config import Config

from .config_checks import check_channels, check_work_dir, dicts
from .configs import drop_late_schedules, load_config
from .data_folders import check_training_data
from .launch import LAUNCHERS
from .option_values import SettingsAction


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every tool with a config has."""
    add_settings_option(parser, '--cfg-options', 'the config')
    # Read by run_tool, which also has to know when reading the options fails.
    parser.add_argument(
        '--traceback', action='store_true', help='print tracebacks of errors'
    )


def add_settings_option(
    parser: argparse.ArgumentParser, option: str, config: str
) -> None:
    """Add an option that overrides settings of a config.

    Args:
        parser: To which it is added.
        option: Its name, e.g. '--cfg-options'.
        config: Which config, for the help.
    """
    parser.add_argument(
        option,
        nargs='+',
        action=SettingsAction,
        metavar='KEY=VALUE',
        help=f'override settings of {config}, e.g. data_root=/path/to/images',
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a tool that runs a config with a Runner."""
    add_config_options(parser)
    parser.add_argument(
        '--work-dir',
        help='folder of logs and checkpoints; default work_dirs/<name of the config>',
    )


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a tool that may also run on several processes."""
    add_run_options(parser)
    add_launcher_option(parser)
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='loaders do not pin memory'
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='loaders start their workers anew for every epoch',
    )


def add_launcher_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what started the processes."""
    parser.add_argument(
        '--launcher',
        choices=list(LAUNCHERS),
        default='none',
        help='what started the processes, if there are several',
    )
    # torch.distributed.launch gives it, and sets LOCAL_RANK, which is what is read.
    parser.add_argument(
        '--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS
    )


def set_loader_options(cfg: Config, args: argparse.Namespace) -> None:
    """Carry ``--no-pin-memory`` and ``--no-persistent-workers`` over to all loaders.

    Args:
        cfg: The config; its loaders, those of hooks too, are changed.
        args: The command line, of ``add_launch_options``.
    """
    for path, node in dicts(cfg._cfg_dict):
        if path.endswith('dataloader'):
            for name in ('pin_memory', 'persistent_workers'):
                if getattr(args, f'no_{name}', False):
                    node[name] = False


def check_out_option(parser: argparse.ArgumentParser, out: str, ending: str) -> None:
    """Refuse an ``--out`` of another ending.

    Args:
        parser: It reports the mistake.
        out: The value.
        ending: How it must end, e.g. '.json'.

    Raises:
        SystemExit: If it is refused.
    """
    if not out.endswith(ending):
        article = 'an' if ending == '.npz' else 'a'
        parser.error(f'--out must be {article} {ending} file: {out}')


def set_work_dir(cfg: Config, args: argparse.Namespace) -> None:
    """Choose the work folder: the option, the config's or one of its name."""
    name = os.path.splitext(os.path.basename(args.config))[0]
    default = cfg.get('work_dir') or os.path.join('work_dirs', name)
    cfg.work_dir = args.work_dir or default
    check_work_dir(cfg.work_dir)


def load_run_config(args: argparse.Namespace) -> Config:
    """Read the config of a training, and check what can be checked before it.

    Args:
        args: The command line, of ``add_run_options`` and with ``config``.

    Returns:
        The config, with its work folder.

    Raises:
        FileNotFoundError: If a data folder is missing or empty.
        ValueError: If the config has a mistake or no model, or its work folder cannot
            be made.
    """
    cfg = load_config(args.config, args.cfg_options)
    check_channels(cfg)
    check_training_data(cfg, validates=not getattr(args, 'no_validate', False))
    drop_late_schedules(cfg)
    set_work_dir(cfg, args)
    if 'model' not in cfg:
        raise ValueError(f'{args.config} has no model to train: model=dict(type=...).')
    return cfg
