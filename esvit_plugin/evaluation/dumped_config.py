"""The config that a training left beside its checkpoint, compared with the given one.

mmengine's Runner writes the final config, with all ``--cfg-options``, into the work
folder. It is read without running it, as folders may be from elsewhere.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..apis import find_model_config
from ..config_text import read_settings
from ..engine.checkpoints import find_damage
from ..engine.cli import MAX_LINES, Failure, process_rank
from ..type_names import type_name
from .loading import find_evaluated

MAX_DIFFERENCES = 3
# Of no account once a model has the weights of a checkpoint and is not trained.
_NO_SETTINGS = (
    *('init_cfg', '_scope_', 'with_cp', 'frozen_stages', 'compile_backbones'),
    *('drop_path_rate', 'drop_rate', 'attn_drop_rate'),
    # Who teaches, and how much, is no part of the network that learned.
    *('target_generator', 'teacher', 'distill_weight'),
)
_NOT_SET = object()


class Difference(NamedTuple):
    """A setting that differs.

    Args:
        name: Dotted name, as of ``--cfg-options``.
        dumped: Its value in the dumped config.
        given: Its value in the given config.
    """

    name: str
    dumped: Any
    given: Any

    def __str__(self) -> str:
        return f'{self.name} is {_text(self.dumped)} there, {_text(self.given)} here'


@contextlib.contextmanager
def evaluated_config(
    name: str, checkpoint: str, options: dict[str, Any] | None = None
) -> Iterator[str | Config]:
    """The config of a command line, whose checkpoint is to be loaded in the context.

    Args:
        name: As for ``load_backbone``.
        checkpoint: Its file.
        options: Of ``--cfg-options``. Defaults to None.

    Yields:
        The config; 'auto' and 'timm::NAME' as they are.

    Raises:
        ValueError: As ``find_evaluated``, and as :func:`compare_dump`.
        FileNotFoundError: If the config file does not exist.
    """
    config = find_evaluated(name, options)
    if isinstance(config, str):
        yield config
        return
    with compare_dump(config, checkpoint):
        yield config


@contextlib.contextmanager
def compare_dump(config: Config, checkpoint: str) -> Iterator[None]:
    """Say how the model differs from that of the config beside its checkpoint, if so.

    Where the checkpoint loads in the context it is a warning on stderr, otherwise a
    line of the error.

    Args:
        config: The given config.
        checkpoint: The checkpoint to be loaded.

    Raises:
        ValueError: The error of the context, with that line.
        Failure: Likewise.
    """
    note = _note(config, checkpoint)
    try:
        yield
    except (ValueError, Failure) as error:
        if not note or find_damage(os.path.expanduser(checkpoint)):
            raise
        lines = [*str(error).splitlines()[: MAX_LINES - 1], note]
        kind = ValueError if isinstance(error, ValueError) else Failure
        raise kind('\n'.join(lines)) from error
    if note and not process_rank():
        print(f'warning: {note}', file=sys.stderr, flush=True)


def find_dump(config: Config, checkpoint: str) -> str | None:
    """The config that a training left beside its checkpoint.

    Args:
        config: The given config.
        checkpoint: The checkpoint.

    Returns:
        The file of the same name, or the only one; None if there is none. It may be the
        given config itself, which options have changed.
    """
    if '://' in checkpoint:
        return None
    folder = os.path.dirname(os.path.abspath(os.path.expanduser(checkpoint)))
    files = [str(path) for path in Path(folder).glob('*.py')]
    given = config.filename or ''
    own = os.path.join(folder, os.path.basename(given))
    return own if own in files else files[0] if len(files) == 1 else None


def read_dump(path: str) -> dict[str, Any] | None:
    """The model of a dumped config, and the normalisation beside it, unless it runs.

    Args:
        path: The file.

    Returns:
        ``model`` and, if given, ``data_preprocessor``; None if the file is no dumped
        config, or cannot be read.
    """
    try:
        return read_settings(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def differences(
    dumped: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Difference]:
    """Where two models differ as data: lists are tuples, and classes their names.

    Args:
        dumped: Config of a model.
        given: Config of a model.
    """
    return list(_compare('model', _plain(dumped), _plain(given)))


def _note(config: Config, checkpoint: str) -> str | None:
    """A line on what differs, None if nothing does."""
    path = find_dump(config, checkpoint)
    dump = read_dump(path) if path else None
    if dump is None:
        return None
    try:
        found = differences(find_model_config(dump), find_model_config(config))
    except ValueError:  # one has no model
        return None
    if not found:
        return None
    shown = '; '.join(map(str, found[:MAX_DIFFERENCES]))
    more = len(found) - MAX_DIFFERENCES
    return (
        f'The model of {path}, which lies beside {checkpoint}, is not that of '
        f'{config.filename or "the config"}: {shown}'
        + (f'; and {more} more' if more > 0 else '')
        + '. If the checkpoint is of that training, give that config.'
    )


def _plain(value: Any) -> Any:
    """A setting as it is in a dumped config."""
    if isinstance(value, Mapping):
        plain = {str(k): _plain(v) for k, v in value.items() if k not in _NO_SETTINGS}
        if 'type' in plain:
            plain['type'] = type_name(value)
        return plain
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return getattr(value, '__name__', str(value))


def _compare(name: str, dumped: Any, given: Any) -> Iterator[Difference]:
    """The differences of plain settings."""
    if isinstance(dumped, dict) and isinstance(given, dict):
        if dumped.get('type') != given.get('type'):
            # What the classes take differs as well, which says no more.
            keys = ['type']
        else:
            keys = sorted({*dumped, *given})
        for key in keys:
            values = (one.get(key, _NOT_SET) for one in (dumped, given))
            yield from _compare(f'{name}.{key}', *values)
    elif _has_dicts(dumped) and _has_dicts(given) and len(dumped) == len(given):
        for number, items in enumerate(zip(dumped, given, strict=True)):
            yield from _compare(f'{name}.{number}', *items)
    elif given is None and name.endswith('.num_classes'):
        return  # it is taken from the images
    elif dumped != given:
        yield Difference(name, dumped, given)


def _has_dicts(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _text(value: Any) -> str:
    """A value, shortened where it is long."""
    text = 'not set' if value is _NOT_SET else repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
