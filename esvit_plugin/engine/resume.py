"""Where a run goes on: the checkpoint, the position in it, and the schedules."""

import os
import socket
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.optim import Optimizer

from ..models.frozen_teacher import FrozenTeacher
from .checkpoints import find_damage, list_checkpoints, load_checkpoint_file
from .loops import ResumableTrainLoop

POINTER = 'last_checkpoint'


def _warn(message: str) -> None:
    print_log(message, 'current', 30)


def _saved_at(path: str, jobs: Sequence[str]) -> tuple[float, int] | None:
    """Time and iteration of a checkpoint to resume from; None if it is of another kind.

    Args:
        path: The checkpoint.
        jobs: It must be of one of these, if there are any.

    Raises:
        Exception: Whatever torch raises for a file that it cannot read.
    """
    checkpoint = torch.load(path, 'cpu', weights_only=True, mmap=True)
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= set(meta):
        return None
    if 'optimizer' not in checkpoint:
        return None  # a best_*.pth, or weights alone
    if jobs and not set(jobs) & set(meta.get('jobs', ())):
        return None
    moment = meta.get('saved_at')
    if not isinstance(moment, (int, float)):
        try:
            moment = time.mktime(time.strptime(meta.get('time', ''), '%Y%m%d_%H%M%S'))
        except (TypeError, ValueError):
            moment = os.path.getmtime(path)
    return float(moment), int(meta['iter'])


def read_pointer(folder: str) -> str | None:
    """The path in ``last_checkpoint`` of a folder; None if there is no such file."""
    path = os.path.join(folder, POINTER)
    if not os.path.isfile(path):
        return None
    with open(path, encoding='utf-8', errors='replace') as file:
        # Inner zeros, which no path may have, as other bytes that are no text.
        return file.read().strip().rstrip('\0').replace('\0', '\ufffd')


def _check_pointer(folders: Sequence[str]) -> str | None:
    """Say what is wrong with the pointer of a run, and return what it names.

    Args:
        folders: That of the pointer, and others of the run's checkpoints.
    """
    folder = folders[0]
    path, target = os.path.join(folder, POINTER), read_pointer(folder)
    if target is None:
        return None
    name, where = os.path.basename(target), ' and '.join(folders)
    own = os.path.realpath(os.path.dirname(target) or folder)
    if not name:
        _warn(f'{path} is empty; the checkpoints beside it are looked at instead.')
    elif not any(os.path.isfile(os.path.join(place, name)) for place in folders):
        _warn(f'{path} names {target}, which is not in {where}.')
    elif own not in map(os.path.realpath, folders):
        _warn(f'{path} names {target} of another folder; those of {where} are taken.')
    return target


def newest_checkpoint(*folders: str, jobs: Sequence[str] = ()) -> str | None:
    """The newest whole checkpoint of a run that it can be resumed from.

    Files that are empty, truncated or damaged are named in the log, and the next older
    one is taken. What counts is the time in the checkpoint, not that of the file.

    Args:
        *folders: The work folder of the run, and others that it saves in.
        jobs: Take those alone that one of these has written, ``job_names`` of it.
            Defaults to (), which takes all.

    Returns:
        Its path; None where no run has begun, or none of these jobs.

    Raises:
        ValueError: If there are checkpoints or a pointer to one, but none is whole: a
            run is never begun again without a word.
    """
    target, where = _check_pointer(folders), ' and '.join(folders)
    candidates, damaged = [], []
    names = [(folder, name) for folder in folders for name in list_checkpoints(folder)]
    for folder, name in names:
        path = os.path.join(folder, name)
        try:
            moment = _saved_at(path, jobs)
        except Exception:  # torch's errors for damaged files are of many types
            damaged.append(f'{name} {find_damage(path) or "cannot be read"}')
            continue
        if moment is not None:
            candidates.append((moment, path))
    whole = None
    for _, path in sorted(candidates, reverse=True):
        damage = find_damage(path)
        if damage is None:
            whole = path
            break
        damaged.append(f'{os.path.basename(path)} {damage}')
    if damaged:
        _warn(f'Left out in {where}: {"; ".join(damaged)}.')
    if whole is None and (damaged or target) and not jobs:
        raise ValueError(
            f'--resume: {where} has no whole checkpoint '
            f'({"; ".join(damaged) or f"{POINTER} names {target}"}). '
            'Name one with --resume PATH, or another --work-dir to begin anew.'
        )
    return whole


def refuse_to_repeat(given: str, *folders: str) -> None:
    """Refuse a checkpoint of elsewhere if the run that began with it has gone on.

    A stopped run of ``--resume PATH`` that is started by the same command would do the
    same epochs again, over its own checkpoints.

    Args:
        given: The checkpoint to begin with.
        *folders: Those of the run's checkpoints.

    Raises:
        ValueError: If one of theirs is newer, and of a later iteration.
    """
    path = os.path.expanduser(given)
    own = os.path.realpath(os.path.dirname(path))
    # A run may be set back to its own checkpoint; an address has no time.
    if own in map(os.path.realpath, folders) or not os.path.isfile(path):
        return
    try:
        newest, before = newest_checkpoint(*folders), _saved_at(path, ())
        after = _saved_at(newest, ()) if newest else None
    except Exception:  # what is wrong with the given one is said when it is loaded
        return
    if before and after and all(a > b for a, b in zip(after, before, strict=True)):
        raise ValueError(
            f'--resume {given}: the run that began with it has come further, to '
            f'{newest}. Give --resume without a path to go on from there, or another '
            f'--work-dir to begin with {os.path.basename(path)} again.'
        )


def agree(function: Callable[..., str | None], *args: Any, **kwargs: Any) -> str | None:
    """What a function of the main process returns or refuses, for all processes.

    Args:
        function: Looks at the folders of checkpoints.
        *args: Its arguments.
        **kwargs: Its arguments.

    Raises:
        ValueError: If it raises one, in all processes.
        OSError: Likewise.
    """
    answer: list[Any] = [None, None]
    if is_main_process():
        try:
            answer[0] = function(*args, **kwargs)
        except (ValueError, OSError) as error:
            answer[1] = error
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def check_shared(path: str | None) -> None:
    """Refuse a checkpoint that is not there on all machines; all processes must ask.

    Args:
        path: The checkpoint; None if there is none.

    Raises:
        ValueError: If so, in all processes.
    """
    if path is None:
        return
    found = all_gather_object((socket.gethostname(), os.path.isfile(path)))
    lacking = sorted({host for host, is_there in found if not is_there})
    if lacking:
        raise ValueError(
            f'--resume: {path} is not there on {", ".join(lacking)}. All machines must '
            'share the work folder: give one with --work-dir, or copy it to each.'
        )


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
        epoch: Whole epochs that are done.
        start: Batches of the next epoch that are done, in this run's batches.
        iteration: Iterations that are done, as if all had been this run's.
    """

    epoch: int
    start: int
    iteration: int


def find_position(meta: Mapping[str, Any], iters_per_epoch: int) -> Position:
    """Place a checkpoint in a run that may have other epochs.

    Everything scheduled is a function of epoch + i / (iterations per epoch), as in the
    authors' program; so the part of the epoch that is done is kept.

    Args:
        meta: The checkpoint's.
        iters_per_epoch: Of this run.
    """
    epoch, iteration = int(meta['epoch']), int(meta['iter'])
    run = meta.get('run')
    old = run.get('iterations per epoch') if isinstance(run, dict) else None
    if not isinstance(old, int) or old < 1:
        # Of mmengine's Runner: with epochs as these, or at the end of another one.
        fits = 0 <= iteration - epoch * iters_per_epoch <= iters_per_epoch
        ended = epoch > 0 and iteration > 0 and iteration % epoch == 0
        old = iteration // epoch if ended and not fits else iters_per_epoch
    done = min(max(iteration - epoch * old, 0), old)
    start = round(done / old * iters_per_epoch)
    return Position(epoch, start, epoch * iters_per_epoch + start)


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between the settings of two runs, in one line."""
    return ', '.join(
        f'{name} {old[name]} -> {value}'
        for name, value in new.items()
        if name in old and old[name] != value
    )


def run_settings(runner: Runner) -> dict[str, Any]:
    """What decides the course of a run, to be compared when it is resumed."""
    loader = runner.train_dataloader
    settings: dict[str, Any] = {
        'batch size per process': loader.batch_size,
        'processes': get_world_size(),
        'images': len(loader.dataset),
        'drop_last': loader.drop_last,
        'epochs': runner.max_epochs,
    }
    if isinstance(runner.train_loop, ResumableTrainLoop):
        settings['iterations per epoch'] = len(loader)
    for module in runner.model.modules():
        if isinstance(module, FrozenTeacher):
            # Its weights are not in the checkpoint of the run.
            settings['teacher'] = module.checkpoint
            if hasattr(module, 'backbone_cfg'):
                settings['arch of the teacher'] = str(module.backbone_cfg.get('arch'))
    for name, part in wrapper_parts(runner.optim_wrapper).items():
        group = configured_groups(part.optimizer)[0]
        prefix = f'{name}.' if name else ''
        for key in ('lr', 'weight_decay'):
            if isinstance(group.get(key), (int, float)):
                settings[f'{prefix}{key}'] = group[key]
    return settings


def wrapper_parts(wrapper: Any) -> dict[str, Any]:
    """The wrappers of single optimisers by name; '' for one that is the only one."""
    if wrapper is None:
        return {}
    return dict(wrapper.items()) if hasattr(wrapper, 'items') else {'': wrapper}


def configured_groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Hyper-parameters of each group as the config has them, before any schedule."""
    groups = []
    for group in optimizer.param_groups:
        values = {key: value for key, value in group.items() if key != 'params'}
        for key in list(values):
            if key.startswith('initial_'):
                values[key.removeprefix('initial_')] = values[key]
        groups.append(values)
    return groups


def with_new_settings(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimiser's saved state with the hyper-parameters of this run's config.

    Args:
        state: What was saved.
        optimizer: This run's, as built.

    Raises:
        ValueError: If the groups of parameters do not fit.
    """
    saved = state['param_groups']
    groups = [dict(group) for group in optimizer.param_groups]
    sizes = [[len(g['params']) for g in side] for side in (saved, groups)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"The checkpoint's optimiser has groups of {sizes[0]} parameters, this "
            f"run's of {sizes[1]}: use the model and optim_wrapper it was trained "
            'with, or load_from instead of --resume to begin with its weights alone.'
        )
    for group, old in zip(groups, saved, strict=True):
        group['params'] = old['params']
    return {**state, 'param_groups': groups}


def _optimizers(names: Collection[str]) -> str:
    """Optimisers by their names in the config; one alone has none."""
    if '' in names:
        return 'one optimiser'
    return f'the optimisers {", ".join(names)}'


def resume_optimizers(wrapper: Any, states: dict[str, Any]) -> None:
    """Load the state of each optimiser; its settings stay those of this config.

    Args:
        wrapper: This run's optimiser wrapper, as built.
        states: What was saved of it.

    Raises:
        ValueError: If the optimisers, or their groups of parameters, do not fit.
    """
    parts = wrapper_parts(wrapper)
    saved = [''] if 'param_groups' in states else list(states)
    if sorted(saved) != sorted(parts):
        raise ValueError(
            f'The checkpoint has the state of {_optimizers(saved)}, this run has '
            f'{_optimizers(parts)}: use the optim_wrapper it was trained with, or '
            'load_from instead of --resume to begin with its weights alone.'
        )
    for name, part in parts.items():
        state = states[name] if name else states
        state = with_new_settings(state, part.optimizer)
        # Scheduled as the groups are, for the log; that of this run is replayed.
        state.pop('base_param_settings', None)
        if not state.get('loss_scaler', True):
            # Of a training without scaling, which one with it refuses
            del state['loss_scaler']
        part.load_state_dict(state)


def replay_schedules(
    schedulers: Sequence[Any], position: Position, iters_per_epoch: int
) -> None:
    """Bring freshly built schedulers to a position.

    mmengine's schedules are recursive: a value follows from the one before. So they
    are stepped from the start, with this run's settings alone, and end bit for bit
    where a run with these settings would be. One that follows a metric cannot be.

    Args:
        schedulers: Of one optimiser, in the order of the config, as built.
        position: Where to.
        iters_per_epoch: Of this run.
    """
    by_iter = [s for s in schedulers if not s.by_epoch]
    by_epoch = [s for s in schedulers if s.by_epoch and not hasattr(s, 'need_val_args')]
    for scheduler in schedulers:
        # mmengine counts steps to warn of a wrong order.
        scheduler.optimizer._global_step = 0
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for epoch in range(position.epoch + 1):
            steps = iters_per_epoch if epoch < position.epoch else position.start
            for _ in range(steps if by_iter else 0):
                for scheduler in by_iter:
                    scheduler.step()
            if epoch < position.epoch:
                for scheduler in by_epoch:
                    scheduler.step()


def check_resumable(path: str, with_optimizer: bool) -> None:
    """Refuse a file that is no checkpoint of a training, before it is loaded.

    Args:
        path: The file.
        with_optimizer: Whether it must have the state of an optimiser.

    Raises:
        ValueError: If it is none, or lacks that state.
    """
    try:
        checkpoint = load_checkpoint_file(path, mmap=True)
    except (ValueError, FileNotFoundError):
        checkpoint = load_checkpoint_file(path)  # of a format without mmap
    meta = checkpoint.get('meta')
    wanted = {'epoch', 'iter'}
    if not isinstance(meta, dict) or not wanted <= set(meta):
        raise ValueError(
            f'--resume: {path} is no checkpoint of a training, as its meta has no '
            'epoch and iter. To begin with its weights, set load_from instead.'
        )
    if not all(isinstance(meta[key], int) and meta[key] >= 0 for key in wanted):
        raise ValueError(
            f'--resume: {path} has epoch {meta["epoch"]!r} and iter {meta["iter"]!r}, '
            'which are no numbers of a training.'
        )
    if with_optimizer and 'optimizer' not in checkpoint:
        raise ValueError(
            f'--resume: {path} has no state of an optimiser, so that training cannot '
            'go on. To begin with its weights, set load_from instead of --resume.'
        )
