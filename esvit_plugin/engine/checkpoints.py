"""Checkpoint files: written whole or not at all, read without running anything."""

import argparse
import contextlib
import errno
import functools
import os
import pickle
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..models.conversion.names import CONVERTER, is_released_training

# In the names of files that are not finished.
UNFINISHED = '.part'


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, shared: bool = False) -> Iterator[str]:
    """Write a file that appears under its name only when it is whole.

    Args:
        path: The file, whose folder is made where there is none. A file that is there
            already stays until the new one is complete, and if writing fails (a full
            disk, an interruption).
        shared: Whether other processes may write the same file meanwhile. What a kill
            leaves of it is not written over then. Defaults to False.

    Yields:
        The path to write to, in the same folder and with the same ending.

    Raises:
        OSError: If it cannot be written; the message names it.

    Example:
        >>> with atomic_file('features.npz') as path:
        ...     np.savez(path, **arrays)
    """
    folder, name = os.path.split(os.fspath(path))
    stem, ending = os.path.splitext(name)
    own = f'.{os.getpid()}' if shared else ''
    unfinished = os.path.join(folder, f'.{stem}{own}{UNFINISHED}{ending}')
    try:
        os.makedirs(folder or os.curdir, exist_ok=True)
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
        _flush(folder or '.')
    except (OSError, RuntimeError) as error:
        # torch's writer has errors, but no words, of its own for a full disk.
        by_torch = 'inline_container' in str(error) or 'StreamWriter' in str(error)
        if not by_torch and not isinstance(error, OSError):
            raise
        full = by_torch and shutil.disk_usage(folder or '.').free < 2**20
        reason = os.strerror(errno.ENOSPC) if full else None
        reason = reason or getattr(error, 'strerror', None) or str(error)
        raise OSError(
            f'{os.fspath(path)} cannot be written: {reason}. Nothing there has changed.'
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(unfinished)


def save_weights(
    path: str | os.PathLike, weights: Mapping[str, Tensor], content: Any = None
) -> None:
    """Write weights whole or not at all, in the format that the name says.

    Args:
        path: The file. A name ending in .safetensors makes one of that format, with
            the weights alone; any other one of ``torch.save``.
        weights: Tensors by name.
        content: What ``torch.save`` shall write instead of the weights, e.g. a
            checkpoint with these. Defaults to None.

    Raises:
        OSError: If it cannot be written; the message names it.
        ImportError: If safetensors, which timm brings, is missing.
    """
    with atomic_file(path) as part:
        if not part.endswith('.safetensors'):
            torch.save(weights if content is None else content, part)
            return
        from safetensors.torch import save

        # Tensors that share memory or are not contiguous are refused.
        whole = torch.contiguous_format
        copies = {n: v.detach().clone(memory_format=whole) for n, v in weights.items()}
        # Its own writer makes files that only their owner can read.
        with open(part, 'wb') as file:
            file.write(save(copies, metadata=dict(format='pt')))


def _flush(path: str) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems cannot do it for folders.
        if not os.path.isdir(path):
            raise
    finally:
        os.close(descriptor)


def find_damage(path: str | os.PathLike) -> str | None:
    """Say what is wrong with a checkpoint file, without unpickling it.

    torch does not check the checksums of the records that it writes; this does.

    Args:
        path: The file.

    Returns:
        What is wrong, to be put after the file's name; None if nothing is.
    """
    if not os.path.isfile(path):
        return 'is a folder' if os.path.isdir(path) else 'does not exist'
    try:
        if not os.path.getsize(path):
            return 'is empty'
        with open(path, 'rb') as file:
            begins_well = file.read(4) == b'PK\x03\x04'
        if not begins_well and not zipfile.is_zipfile(path):
            return None  # of torch < 1.6, or no checkpoint: the loader says
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
    except Exception as error:  # decoders of names and records have their own
        # Damage may name a place before the file, which is an invalid argument.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            return f'cannot be read: {error.strerror}'
        return 'is truncated or damaged'
    if record is not None or not begins_well:
        return f'is damaged (record {record})' if record else 'is damaged'
    return None


def load_checkpoint_file(
    path: str | os.PathLike,
    map_location: Any = 'cpu',
    mmap: bool = False,
    released: bool = False,
) -> dict[str, Any]:
    """Load a checkpoint of tensors and plain values, and nothing else.

    No code of the file runs, whatever the version of torch and its settings. Text
    that mmengine would run (``meta['config']``) is dropped, and paths that it would
    delete are kept inside the file's folder.

    Args:
        path: The file.
        map_location: As for ``torch.load``. Defaults to 'cpu'.
        mmap: Whether to leave tensors in the file until they are read. Defaults to
            False.
        released: Whether to take checkpoints of the authors' programs, which a
            converter reads, too. Defaults to False.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, truncated, damaged, no checkpoint, one that has to
            be converted first, or holds anything else; the message names it.
    """
    path = os.path.expanduser(os.fspath(path))
    damage = find_damage(path)
    if damage == 'does not exist':
        raise FileNotFoundError(f'There is no checkpoint {path}.')
    if damage:
        raise ValueError(
            f'The checkpoint {path} {damage}; copy it again, or take an older one.'
        )
    try:
        # The programs save their options beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace] * released):
            checkpoint = torch.load(path, map_location, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise _not_loaded(path, error) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as e:
        first = ''.join(str(e).strip().splitlines()[:1])[:200]
        # Of other files torch's reader may only say a number.
        reason = '' if not first or first.isdigit() else f': {first}'
        raise ValueError(
            f'{path} is no checkpoint that torch can read{reason}'
        ) from None
    return _checked_content(checkpoint, path, released)


def _not_loaded(path: str, error: pickle.UnpicklingError) -> ValueError:
    """The error of a file that asks for more than tensors and plain values."""
    match = re.search(r'GLOBAL ([\w.]+)|[Cc]lass(?:es)? ([\w.]+)', str(error))
    what = next((name for name in match.groups() if name), '') if match else ''
    advice = (
        " If it is of a program that saves its options (EsViT's, DINO's, MAE-lite's), "
        'convert it first: '
        f'{CONVERTER} {path} DST'
        if what == 'argparse.Namespace'
        else ''
    )
    return ValueError(
        f'{path} is not loaded: a checkpoint holds tensors and plain values, but this '
        f'file asks for {what or "something else, or is no checkpoint"}.{advice}'
    )


def _checked_content(
    checkpoint: Any, path: str, released: bool = False
) -> dict[str, Any]:
    """Drop orders; refuse what mmengine would load without finding a tensor."""
    checkpoint = _without_orders(checkpoint, path)
    if not released and is_released_training(checkpoint):
        raise ValueError(
            f"{path} is a checkpoint of the authors' program (EsViT's or DINO's). "
            f'Convert it first: {CONVERTER} {path} DST'
        )
    return checkpoint


def _without_orders(checkpoint: Any, path: str) -> dict[str, Any]:
    """Drop what mmengine would run or delete on behalf of a checkpoint."""
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} is no checkpoint: it holds a {type(checkpoint).__name__}, not a '
            'dict of weights.'
        )
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        # mmengine's Runner runs it as Python when a training is resumed.
        meta.pop('config', None)
    hub = checkpoint.get('message_hub')
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    if isinstance(info, dict):
        folder = os.path.dirname(path)
        # mmengine's CheckpointHook deletes these files.
        steps = info.get('keep_ckpt_ids')
        if steps is not None:
            steps = steps if isinstance(steps, list) else []
            info['keep_ckpt_ids'] = [step for step in steps if type(step) is int]
        for name, value in info.items():
            if isinstance(name, str) and name.startswith(('best_ckpt', 'last_ckpt')):
                base = os.path.basename(value) if isinstance(value, str) else ''
                info[name] = os.path.join(folder, base) if base else None
    return checkpoint


def check_finite_weights(weights: Mapping[str, Any], source: str) -> None:
    """Refuse weights that a training that went wrong has left.

    Args:
        weights: Tensors by name; other values, and dicts, are looked at only for
            tensors in them.
        source: Where they are from, for the message.

    Raises:
        ValueError: If one is not finite; the message names it.
    """
    for name, value in weights.items():
        if isinstance(value, Mapping):
            check_finite_weights(value, source)
        elif isinstance(value, Tensor) and not is_finite(value):
            raise ValueError(
                f'{source} has values that are not finite in {name}: the training '
                'that wrote it had gone wrong. Take an older checkpoint.'
            )


def is_finite(value: Tensor) -> bool:
    """Whether all values of a tensor are finite; without a copy of it."""
    if not value.is_floating_point() or value.numel() == 0:
        return True
    low, high = torch.aminmax(value.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


_PATCH = threading.RLock()


@contextlib.contextmanager
def weights_only() -> Iterator[None]:
    """Make every ``torch.load`` of other packages unpickle tensors and values alone.

    torch's download helper switches the protection off even where it is the default,
    and so do older versions of timm.
    """
    with _PATCH:
        load = torch.load

        @functools.wraps(load)
        def safe_load(*args: Any, **kwargs: Any) -> Any:
            return load(*args, **{**kwargs, 'weights_only': True})

        torch.load = safe_load
        try:
            yield
        finally:
            torch.load = load


def _checked(loader: Callable[..., Any]) -> Callable[..., Any]:
    """A loader of mmengine for files from elsewhere, made safe."""

    @functools.wraps(loader)
    def load(filename: str, map_location: Any = None, **kwargs: Any) -> dict[str, Any]:
        try:
            with weights_only():
                checkpoint = loader(filename, map_location=map_location, **kwargs)
        except pickle.UnpicklingError as error:
            raise _not_loaded(filename, error) from None
        return _checked_content(checkpoint, filename)

    load.checked = True  # type: ignore[attr-defined]
    return load


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a local file for mmengine; see ``load_checkpoint_file``."""
    return load_checkpoint_file(filename, map_location)


def install_checked_loaders() -> None:
    """Make mmengine's ``CheckpointLoader`` load safely, whatever calls it.

    So ``load_from``, ``--resume``, ``init_cfg=dict(type='Pretrained')`` and
    ``load_checkpoint`` are safe with any Runner, once this package is imported.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    for prefix, loader in list(CheckpointLoader._schemes.items()):
        if prefix and not hasattr(loader, 'checked'):
            CheckpointLoader._schemes[prefix] = _checked(loader)


def list_checkpoints(folder: str | os.PathLike) -> list[str]:
    """Names of the checkpoint files of a folder, unfinished ones left out."""
    if not os.path.isdir(folder):
        return []
    names = (entry.name for entry in Path(folder).glob('*.pth'))
    return sorted(name for name in names if not name.startswith('.'))
