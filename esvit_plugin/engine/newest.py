"""The checkpoint that a run goes on from, and its pointer to the last one."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.logging import print_log

from .checkpoints import find_damage, list_checkpoints

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
