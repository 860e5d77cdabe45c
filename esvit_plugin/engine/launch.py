"""What the command-line tools share: reading a config, starting processes."""

import argparse
import ast
import copy
import ctypes
import datetime
import importlib
import logging
import os
import sys
import traceback
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .cli import describe
from .config_checks import (
    check_config,
    check_options,
    check_paths,
    check_work_dir,
    dicts,
)

# What each launcher, or PyTorch's environment, tells its processes.
LAUNCHERS = {
    'none': ((), ''),
    'pytorch': (
        ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'),
        'tools/dist_train.sh, tools/dist_test.sh or torchrun',
    ),
    'slurm': (
        ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
        'tools/slurm_train.sh or srun',
    ),
    'mpi': (('OMPI_COMM_WORLD_LOCAL_RANK', 'MASTER_ADDR'), 'mpirun'),
}


class _Options(DictAction):
    """mmengine's action, with messages for what it cannot read."""

    def __call__(self, parser: Any, namespace: Any, values: Any, *args: Any) -> None:
        for text in values:
            name, sign, _ = text.partition('=')
            if not sign or not all(name.split('.')):
                raise ValueError(f'--cfg-options takes KEY=VALUE, got {text!r}.')
            try:
                super().__call__(parser, argparse.Namespace(), [text], *args)
            except (AssertionError, SyntaxError, ValueError, RecursionError):
                raise ValueError(
                    f'--cfg-options {text}: the value cannot be read; look at its '
                    'brackets and quotes.'
                ) from None
        super().__call__(parser, namespace, values, *args)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every tool with a config has."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_Options,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. data_root=/path/to/images',
    )
    # Read by run_tool, which also has to know when reading the options fails.
    parser.add_argument(
        '--traceback', action='store_true', help='print tracebacks of errors'
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
    parser.add_argument('--launcher', choices=list(LAUNCHERS), default='none')


def set_work_dir(cfg: Config, args: argparse.Namespace) -> None:
    """Choose the work folder: the option, the config's or one of its name."""
    name = os.path.splitext(os.path.basename(args.config))[0]
    default = cfg.get('work_dir') or os.path.join('work_dirs', name)
    cfg.work_dir = args.work_dir or default
    check_work_dir(cfg.work_dir)


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    A config names its data folder once, as the variable ``data_root``, and uses it
    in several data sets. ``--cfg-options data_root=...`` therefore replaces the old
    value in all of them, which mmengine by itself does not do.

    Args:
        path: The config file.
        options: Overrides by dotted name.

    Returns:
        The merged config.

    Raises:
        FileNotFoundError: If there is no such file, or one of its ``_base_``.
        ImportError: If ``custom_imports`` names what cannot be imported.
        ValueError: If the file has a mistake, or the config has a name or a value that
            cannot be right; see ``config_checks``.
    """
    cfg = read_config(path)
    options = dict(options or {})
    check_paths(cfg, options)
    old = copy.deepcopy(cfg) if options else cfg
    if 'data_root' in options:
        if 'data_root' not in cfg:
            raise ValueError(
                f'{path} has no variable data_root; set the data_root of its data '
                'sets instead, e.g. train_dataloader.dataset.data_root=...'
            )
        for _, node in dicts(cfg._cfg_dict):
            if node.get('data_root') == old.data_root:
                node['data_root'] = options['data_root']
    cfg.merge_from_dict(options)
    import_custom_modules(cfg, path)
    check_options(old, cfg, options)
    check_config(cfg)
    return cfg


def read_config(path: str) -> Config:
    """Read a config file, without the modules that it wants imported.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If it, or one of its ``_base_``, does not exist.
        ValueError: If it cannot be read; the message has file and line.
    """
    if os.path.isdir(path):
        raise ValueError(f'The config {path} is a folder; name a file in it.')
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no config file {path}.')
    if not path.endswith(('.py', '.json', '.yaml', '.yml')):
        raise ValueError(f'The config {path} must end in .py, .json or .yaml.')
    _check_source(path, ())
    try:
        return Config.fromfile(path, import_custom_modules=False)
    except Exception as error:
        # A config's own code runs as a module.
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.name == '<module>' and frame.filename.endswith('.py')
        ]
        kind = '' if isinstance(error, (OSError, ImportError)) else type(error).__name__
        text = ': '.join(filter(None, [kind, describe(error).splitlines()[0]]))
        place = f'{frames[-1].filename}, line {frames[-1].lineno}' if frames else path
        raise ValueError(f'{place}: the config cannot be read: {text}') from error


def _check_source(path: str, parents: tuple[str, ...]) -> None:
    """Refuse syntax errors and missing ``_base_`` with the line where they are."""
    with open(path, encoding='utf-8') as file:
        text = file.read()
    # What mmengine replaces first need not be Python.
    if not path.endswith('.py') or '{{$' in text:
        return
    try:
        body = ast.parse(text, path).body
    except SyntaxError as error:
        source = (error.text or '').strip()
        raise ValueError(
            f'{path}, line {error.lineno}: {error.msg}: {source}'
        ) from None
    for node in body:
        names = [getattr(t, 'id', '') for t in getattr(node, 'targets', ())]
        if not isinstance(node, ast.Assign) or names != ['_base_']:
            continue
        try:
            bases = ast.literal_eval(node.value)
        except ValueError:
            continue  # computed
        for base in [bases] if isinstance(bases, str) else bases:
            if '::' in base:
                continue
            file_name = os.path.normpath(os.path.join(os.path.dirname(path), base))
            if not os.path.isfile(file_name) or file_name in parents:
                problem = 'includes itself by' if file_name in parents else 'lacks'
                raise FileNotFoundError(
                    f'{path}, line {node.lineno}: the config {problem} its _base_ '
                    f'{base} ({file_name}).'
                )
            _check_source(file_name, (*parents, os.path.normpath(path)))


def import_custom_modules(cfg: Config, path: str) -> None:
    """Import what a config names in ``custom_imports``.

    Args:
        cfg: The config.
        path: Its file, for the message.

    Raises:
        ImportError: If one cannot be imported, unless ``allow_failed_imports`` is set.
    """
    wanted = cfg.get('custom_imports') or {}
    names = wanted.get('imports') or []
    for name in [names] if isinstance(names, str) else names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if not wanted.get('allow_failed_imports'):
                raise ImportError(
                    f'{path}: custom_imports names {name!r}, which cannot be imported '
                    f'({error}). Install it, or set PYTHONPATH to its folder.'
                ) from error
            print_log(
                f'{name} of custom_imports cannot be imported: {error}',
                logger='current',
                level=logging.WARNING,
            )


def check_data_roots(cfg: Config) -> None:
    """Refuse a config whose data folders are not there, before anything is built.

    Args:
        cfg: The config. Every local ``data_root`` in it is looked at; an empty one is
            left to its data set.

    Raises:
        FileNotFoundError: If a folder is missing or empty; the message names it and
            the option to set.
    """
    for _, node in dicts(cfg._cfg_dict):
        # The variable at the top is only a default for the data sets.
        folder = node.get('data_root') if 'type' in node else None
        if not folder or '://' in folder or os.path.isfile(folder):
            continue
        if not os.path.isdir(folder) or not os.listdir(folder):
            problem = 'is empty' if os.path.isdir(folder) else 'does not exist'
            raise FileNotFoundError(
                f'The data folder {folder} of {node["type"]} '
                f'{problem}: pass --cfg-options data_root=/path/to/images'
            )


def drop_late_schedules(cfg: Config) -> None:
    """Leave out schedules that begin only after the training.

    A schedule without an end lasts until ``max_epochs``. In a run shorter than the
    warm-up it would end before it begins, which mmengine refuses.

    Args:
        cfg: The config; ``param_scheduler`` may be shortened.
    """
    schedules = cfg.get('param_scheduler')
    max_epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    if not isinstance(schedules, list) or max_epochs is None:
        return
    kept = [s for s in schedules if 'end' in s or s.get('begin', 0) < max_epochs]
    if len(kept) < len(schedules):
        print_log(
            f'The training of {max_epochs} epochs ends before the warm-up does.',
            logger='current',
            level=logging.WARNING,
        )
    cfg.param_scheduler = kept


def build_runner(cfg: Config) -> Runner:
    """Build the Runner of a config, of the class that ``runner_type`` names."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def check_launcher(launcher: str) -> None:
    """Refuse a launcher that did not start this process.

    Raises:
        ValueError: If what it tells its processes is missing; the message says how to
            start.
    """
    names, remedy = LAUNCHERS[launcher]
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f'--launcher {launcher}: {", ".join(missing)} '
            f'{"is" if len(missing) == 1 else "are"} not set, so it did not start this '
            f'process. Start with {remedy}, or leave out --launcher.'
        )


def keep_freed_memory() -> bool:
    """Keep what tensors on the CPU leave for the next ones, within this process.

    The C library gives every freed block above 32 MiB back to the system, which
    clears page after page when a step asks for the same again: a sixth of the time of
    Swin-T at 224 px (benchmarks/backbone.py). Kept memory stays with the process until
    it ends; data loader workers take the setting over.

    Returns:
        Whether the setting was taken. Only glibc, so only Linux, has it.
    """
    library = ctypes.CDLL(None) if sys.platform == 'linux' else None
    set_option = getattr(library, 'mallopt', None)
    if set_option is None:
        return False
    # malloc.h: M_MMAP_MAX: no blocks of their own; M_TRIM_THRESHOLD: no trimming.
    return all(set_option(number, value) for number, value in ((-4, 0), (-1, -1)))


def prepare_launch(cfg: ConfigDict | Config, launcher: str) -> None:
    """Make the Runner of a config work with a launcher, also without a GPU.

    mmengine starts processes with CUDA calls, and wraps the model for a CUDA
    device, even for the gloo backend. On a CPU, freed memory is kept.

    Args:
        cfg: The config; ``launcher`` is set, and with several processes on a CPU
            ``model_wrapper_cfg``, while ``sync_bn`` is switched off.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    check_launcher(launcher)
    cfg.launcher = launcher
    if get_device() != 'cpu':
        return
    keep_freed_memory()
    if launcher == 'pytorch':
        if not dist.is_initialized():
            seconds = (cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout')
            limit = datetime.timedelta(seconds=seconds) if seconds else None
            dist.init_process_group('gloo', timeout=limit)
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        if cfg.get('sync_bn'):
            print_log(
                "torch's SyncBatchNorm needs a GPU: batch norms run on the batch of "
                'each process alone.',
                logger='current',
                level=logging.WARNING,
            )
            cfg.sync_bn = None
        # Processes share the cores; torch would give each of them all.
        per_process = torch.get_num_threads() // int(os.environ['LOCAL_WORLD_SIZE'])
        torch.set_num_threads(max(1, per_process))
