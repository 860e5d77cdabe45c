"""Data loaders whose workers answer in time, and do not end before their parent."""

import copy
import logging
import os
import signal
import warnings
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .whole_images import leave_out_damaged

# Seconds after which loader workers that give no batch end the run.
WORKER_TIMEOUT = 1800
_HAS_WARNED = False
# Signals that ask a program to end. Slurm announces the end of an allocation by
# SIGUSR1, where it is asked to; a terminal that is closed sends SIGHUP.
SIGNALS = ('SIGTERM', 'SIGUSR1', 'SIGINT', 'SIGHUP')


def build_loader(loader: DataLoader | dict, seed: int | None = None) -> DataLoader:
    """Build a loader; its workers must answer, and without workers it works, too.

    Without a GPU memory is not pinned, of which torch would warn.

    Args:
        loader: A loader or its config, see mmengine. ``timeout`` defaults to 1800
            seconds with workers; options of workers are left out without.
        seed: As in mmengine; the same in all processes.
    """
    if not isinstance(loader, DataLoader):
        loader = copy.copy(loader)
        for name in ('collate_fn', 'worker_init_fn'):
            if isinstance(loader.get(name), dict) and '_scope_' in loader[name]:
                # mmengine hands on what it writes there itself for PACKAGE::PATH.
                part = {k: v for k, v in loader[name].items() if k != '_scope_'}
                loader[name] = part
        if loader.get('num_workers', 0) > 0:
            loader.setdefault('timeout', WORKER_TIMEOUT)
        else:
            for option in ('timeout', 'persistent_workers', 'prefetch_factor'):
                loader.pop(option, None)
        if get_device() == 'cpu':
            loader.pop('pin_memory', None)
        _warn_of_workers(loader.get('num_workers', 0))
    with warnings.catch_warnings():
        # torch says the same as above, in a paragraph.
        warnings.filterwarnings('ignore', 'This DataLoader will create')
        return Runner.build_dataloader(loader, seed)


def _warn_of_workers(number: int) -> None:
    """Say once if there are more workers of a loader than cores."""
    global _HAS_WARNED
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else number
    if number <= cores or _HAS_WARNED:
        return
    _HAS_WARNED = True
    print_log(
        f'num_workers={number} of a loader on {cores} CPU cores: {cores} are enough.',
        logger='current',
        level=logging.WARNING,
    )


def build_eval_loader(cfg: dict) -> DataLoader:
    """Build a loader for evaluation that leaves the training's random stream alone.

    Images that the pipeline gives up, as ``LoadImage(on_error='skip')`` does damaged
    ones, are left out, and none drawn in their place.

    Args:
        cfg: Config of a dataloader in mmengine's form. ``sampler`` defaults to one
            that does not shuffle, ``collate_fn`` to ``default_collate``.

    Returns:
        The loader.
    """
    cfg = copy.deepcopy(dict(cfg))
    cfg.setdefault('sampler', dict(type='DefaultSampler', shuffle=False))
    cfg.setdefault('collate_fn', dict(type='default_collate'))
    loader = build_loader(cfg, seed=0)
    loader.generator = torch.Generator()
    shield_workers(loader)
    leave_out_damaged(loader)
    return loader


class Shielded:
    """The start of a loader worker that does not end by its parent's signals.

    A terminal and a cluster signal all processes of a program. Workers that died of it
    would take the unfinished iteration with them. Only the first SIGTERM is ignored:
    by a second one a parent ends a worker that does not listen.

    Args:
        inner: What the worker does at its start otherwise.
    """

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner

    def __call__(self, worker_id: int) -> None:
        """Begin the worker."""
        for name in SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _ignore_once)
        if self.inner is not None:
            self.inner(worker_id)


def _ignore_once(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def shield_workers(loader: Any) -> None:
    """Protect the workers of a loader that has not started them yet."""
    if loader.num_workers and not isinstance(loader.worker_init_fn, Shielded):
        loader.worker_init_fn = Shielded(loader.worker_init_fn)
