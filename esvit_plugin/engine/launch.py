"""What the command-line tools share: reading a config, starting processes."""

import argparse
import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.logging import print_log


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every tool with a config has."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. data_root=/path/to/images',
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
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )


def set_work_dir(cfg: Config, args: argparse.Namespace) -> None:
    """Choose the work folder: the option, the config's or one of its name."""
    name = os.path.splitext(os.path.basename(args.config))[0]
    default = cfg.get('work_dir') or os.path.join('work_dirs', name)
    cfg.work_dir = args.work_dir or default


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
        FileNotFoundError: If there is no such file.
        ValueError: If ``data_root`` is given, but the config has none.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no config file {path}.')
    cfg = Config.fromfile(path)
    options = dict(options or {})
    if 'data_root' in options:
        if 'data_root' not in cfg:
            raise ValueError(
                f'{path} has no variable data_root; set the data_root of its data '
                'sets instead, e.g. train_dataloader.dataset.data_root=...'
            )
        old = cfg.data_root
        for node in _dicts(cfg._cfg_dict):
            if node.get('data_root') == old:
                node['data_root'] = options['data_root']
    cfg.merge_from_dict(options)
    return cfg


def check_data_roots(cfg: Config) -> None:
    """Refuse a config whose data folders are not there, before anything is built.

    Args:
        cfg: The config. Every local ``data_root`` in it is looked at; an empty one is
            left to its data set.

    Raises:
        FileNotFoundError: If a folder is missing or empty; the message names it and
            the option to set.
    """
    for node in _dicts(cfg._cfg_dict):
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


def _dicts(node: Any) -> Iterator[dict]:
    """All dicts of a config, at any depth."""
    if isinstance(node, dict):
        yield node
        children: Any = node.values()
    else:
        children = node if isinstance(node, (list, tuple)) else ()
    for child in children:
        yield from _dicts(child)


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
    cfg.launcher = launcher
    if get_device() != 'cpu':
        return
    keep_freed_memory()
    if launcher == 'pytorch':
        if not dist.is_initialized():
            dist.init_process_group('gloo')
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
