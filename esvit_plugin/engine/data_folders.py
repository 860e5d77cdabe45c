"""The folders of images that a config names, checked before anything is built."""

import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from ..type_names import type_name
from .config_checks import dicts


def check_data_given(cfg: Config, used: Any = None) -> None:
    """Refuse a config whose data folder is yet to be given.

    Args:
        cfg: The config.
        used: As of ``check_data_roots``.

    Raises:
        ValueError: If so; the message names the option to set.
    """
    for path, node in _data_sets(cfg, used):
        # Others may have whole paths elsewhere.
        is_needed = cfg.get('data_root') == '' or type_name(node) == 'UnlabeledFolder'
        if node.get('data_root') == '' and is_needed:
            raise ValueError(
                f"{type_name(node)} has no data_root (got '' in {path}): "
                f'{_remedy(cfg, path, "")}'
            )


def check_training_data(cfg: Config, validates: bool = True) -> None:
    """Refuse a training whose images are not there, whatever else the config has.

    Args:
        cfg: The config.
        validates: Whether the training has its validations. Defaults to True.

    Raises:
        FileNotFoundError: As ``check_data_roots``.
        ValueError: As ``check_data_roots``.
    """
    names = ['train_dataloader', *['val_dataloader'] * validates, 'custom_hooks']
    check_data_roots(cfg, [cfg.get(name) for name in names])


def check_data_roots(cfg: Config, used: Any = None) -> None:
    """Refuse a config whose data folders are not there, before anything is built.

    Args:
        cfg: The config. Every local ``data_root`` in it is looked at; an empty one is
            left to its data set, unless the config's own variable is empty, too.
        used: Those parts of it that will be read, as variables need not be. Defaults
            to None, all.

    Raises:
        FileNotFoundError: If a folder, or its ``data_prefix``, is missing or empty; the
            message names it and the option to set.
        ValueError: If the folder is yet to be given.
    """
    check_data_given(cfg, used)
    for path, node in _data_sets(cfg, used):
        folder = node.get('data_root')
        if not folder or '://' in folder or os.path.isfile(folder):
            continue
        what = f'The data folder {folder} of {type_name(node)} ({path})'
        if not os.path.isdir(folder) or not os.listdir(folder):
            problem = 'is empty' if os.path.isdir(folder) else 'does not exist'
            raise FileNotFoundError(f'{what} {problem}: {_remedy(cfg, path, folder)}')
        part = node.get('data_prefix')
        if isinstance(part, str) and not os.path.isdir(os.path.join(folder, part)):
            raise FileNotFoundError(
                f'{what} has no folder {part}, its data_prefix: move the images there, '
                'or pass another data_root.'
            )


def _data_sets(cfg: Config, used: Any) -> Iterator[tuple[str, dict]]:
    """The dicts of a config that have a type, with their names; those used if given."""
    wanted = {id(node) for _, node in dicts(used)}
    for path, node in dicts(cfg._cfg_dict):
        # The variable at the top is only a default for the data sets.
        if 'type' in node and (used is None or id(node) in wanted):
            yield path, node


def _remedy(cfg: Config, path: str, folder: str) -> str:
    """How to give a data set another folder, by the variable if it has its value."""
    name = 'data_root' if cfg.get('data_root') == folder else f'{path}.data_root'
    return f'pass --cfg-options {name}=/path/to/images'
