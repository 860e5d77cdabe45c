"""Mistakes in a config, found before anything is built.

A message says which setting, its value, and what to write instead.
"""

import difflib
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ..type_names import type_name
from .config_arguments import (
    Arguments,
    arguments,
    arguments_of,
    find_classes,
    registered,
    registries,
    runner_names,
)
from .spelling import distance, nearest, similar

# What it is made of is in reach here, too.
__all__ = [
    'Arguments',
    'arguments',
    'check_channels',
    'check_config',
    'check_knn',
    'check_matmul_precision',
    'check_options',
    'check_paths',
    'check_work_dir',
    'dicts',
    'distance',
    'find_classes',
    'has_dicts',
    'nearest',
    'similar',
]

# Read from the config as a whole, by mmengine or by this package's tools.
VARIABLES = {'find_unused_parameters', 'sync_bn', 'model_wrapper_cfg', 'compile'}
VARIABLES |= {'custom_imports', 'runner_type', 'knn', 'data_root', 'bit_depth'}
# Settings that are file or folder names.
PATHS = ('data_root', 'ann_file', 'load_from', 'checkpoint', 'work_dir')
# Settings that are dicts, where they are there.
DICTS = {'model', 'optim_wrapper', 'auto_scale_lr', 'env_cfg', 'default_hooks', 'knn'}
DICTS |= {'train_cfg', 'val_cfg', 'test_cfg'}
DICTS |= {'train_dataloader', 'val_dataloader', 'test_dataloader'}

# What backbones of mmpretrain and timm call the number of an image's channels.
CHANNELS = {'in_channels', 'in_chans', 'img_channels'}


def check_config(cfg: Config | Mapping) -> None:
    """Refuse a config with a mistake that can be seen without building anything.

    Args:
        cfg: The whole config, or a part of one.

    Raises:
        ValueError: If a name or a value cannot be right.
    """
    settings: Mapping = getattr(cfg, '_cfg_dict', cfg)
    for name, value in settings.items():
        _check_top_level(name, value)
    scope = settings.get('default_scope') or 'mmpretrain'
    for path, node in dicts(settings):
        _check_type(path, node, scope)
        _check_values(path, node)
    _check_train_cfg(settings.get('train_cfg'))
    for path, node in dicts(settings.get('optim_wrapper') or {}, 'optim_wrapper'):
        _check_optimizer(path, node)
    check_work_dir(settings.get('work_dir'))
    check_matmul_precision(settings.get('env_cfg'))


def check_matmul_precision(env_cfg: Mapping | None) -> None:
    """Refuse a precision of float32 products that torch does not have.

    Args:
        env_cfg: The part of a config, None if it has none.

    Raises:
        ValueError: If ``matmul_precision`` is no such precision.
    """
    value = (env_cfg or {}).get('matmul_precision')
    if value not in (None, 'highest', 'high', 'medium'):
        raise ValueError(
            "env_cfg.matmul_precision must be 'highest' (float32), 'high' (TensorFloat-"
            f"32) or 'medium' (bfloat16), got {value!r}; leave it out for torch's own."
        )


def check_channels(cfg: Config | Mapping) -> None:
    """Refuse to train a backbone on images of another number of channels.

    Args:
        cfg: The whole config. Nothing is said against a backbone of other channels
            where images are neither cut by ``MultiCrop`` nor normalised as RGB.

    Raises:
        ValueError: If it takes another number than three.
    """
    model = cfg.get('model')
    if not isinstance(model, Mapping):
        return
    preprocessors = model.get('data_preprocessor'), cfg.get('data_preprocessor')
    means = [p.get('mean') for p in preprocessors if isinstance(p, Mapping)]
    is_rgb = any(isinstance(m, list | tuple) and len(m) == 3 for m in means)
    loader = cfg.get('train_dataloader')
    is_cropped = any(
        type_name(node) in ('MultiCrop', 'DeviceMultiCrop') for _, node in dicts(loader)
    )
    if not is_rgb and not is_cropped:
        return
    for path, node in dicts(model, 'model'):
        if not path.endswith(('backbone', 'backbone.patch_cfg')):
            continue
        for name in CHANNELS & set(node):
            if node[name] != 3:
                raise ValueError(
                    f'{path}.{name}={node[name]!r}: images are read, augmented and '
                    'normalised as RGB. Set it to 3, as grey images are read as RGB, '
                    'too; a backbone of other channels is for plain PyTorch, with '
                    'images and a loop of your own.'
                )


def check_paths(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse ``--cfg-options`` that cannot be put into a config.

    Args:
        cfg: The config without them.
        options: The values by dotted name.

    Raises:
        ValueError: If a name leads through what is no dict, or to no item of a list.
    """
    for name in options:
        node: Any = cfg._cfg_dict
        words = name.split('.')
        for depth, word in enumerate(words):
            place = '.'.join(words[:depth])
            if isinstance(node, Mapping):
                if word not in node:
                    break
                node = node[word]
            elif isinstance(node, list | tuple):
                if not word.isdigit() or int(word) >= len(node):
                    raise ValueError(
                        f'--cfg-options {name}: {place} is a list of {len(node)}; '
                        f'give a number below {len(node)} instead of {word!r}.'
                    )
                node = node[int(word)]
            else:
                raise ValueError(
                    f'--cfg-options {name}: {place} is {node!r}, which has no {word}.'
                )


def check_options(old: Config, new: Config, options: Mapping[str, Any]) -> None:
    """Refuse ``--cfg-options`` that nothing would read.

    Args:
        old: The config without them.
        new: The config with them.
        options: The values by dotted name.

    Raises:
        ValueError: If a name is neither in the config nor an argument of the class
            that it is for; the message has the nearest right one.
    """
    scope = new.get('default_scope') or 'mmpretrain'
    for name in options:
        words = name.split('.')
        if len(words) == 1:
            _check_variable(name, old)
        before, after = old._cfg_dict, new._cfg_dict
        for depth, word in enumerate(words):
            if isinstance(after, list | tuple):
                before, after = before[int(word)], after[int(word)]
                continue
            if not isinstance(after, Mapping):
                break
            siblings = before if isinstance(before, Mapping) else {}
            if word not in siblings and depth and not word.startswith('_'):
                _check_argument(name, words[:depth], word, after, siblings, scope)
            # Below a new dict there is nothing to compare with.
            before, after = siblings.get(word), after.get(word)


def check_work_dir(folder: Any) -> None:
    """Refuse a work folder that cannot be made."""
    part = folder if isinstance(folder, str) else ''
    while part:
        if os.path.exists(part) and not os.path.isdir(part):
            raise ValueError(
                f'The work folder {folder} cannot be made: {part} is a file. Name '
                'another with --work-dir.'
            )
        part = os.path.dirname(part) if os.path.dirname(part) != part else ''


def check_knn(ks: Any, temperature: Any, place: str = '') -> None:
    """Refuse settings of a k-NN classifier that give nothing.

    Args:
        ks: Numbers of neighbours, or one.
        temperature: Of the votes.
        place: Where they are set, for the message.
    """
    for k in ks if isinstance(ks, list | tuple) else [ks]:
        if not _is_int(k) or k < 1:
            raise ValueError(f'{place}k must be a whole number >= 1, got {k!r}.')
    if not _is_number(temperature) or temperature <= 0:
        raise ValueError(f'{place}temperature must be above 0, got {temperature!r}.')


def dicts(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """All dicts of a config, at any depth, with their dotted names."""
    if isinstance(node, dict):
        yield path, node
        children: Iterable = node.items()
    else:
        children = enumerate(node) if isinstance(node, list | tuple) else ()
    for name, child in children:
        yield from dicts(child, f'{path}.{name}' if path else str(name))


def has_dicts(settings: Any) -> bool:
    """Whether settings are, or have at any depth, a dict that is not empty."""
    return any(node for _, node in dicts(settings))


def _check_top_level(name: str, value: Any) -> None:
    known = runner_names()
    if name not in known and name not in VARIABLES and (meant := similar(name, known)):
        raise ValueError(f'The config has {name}: did you mean {meant}?')
    # Beside dicts a Runner takes what is built.
    if name in DICTS and isinstance(value, bool | int | float | str | list | tuple):
        raise ValueError(
            f'{name} must be a dict, got {value!r}: give its parts, {name}.KEY=VALUE.'
        )


def _check_variable(name: str, old: Config) -> None:
    """A variable at the top has no effect unless something reads it."""
    if name in runner_names() or name in VARIABLES:
        return
    places = [path for path, node in dicts(old._cfg_dict) if path and name in node]
    if name in old:
        # Of dicts there are copies that can be found.
        if not has_dicts(old[name]):
            others = ', '.join(f'{path}.{name}' for path in places)
            print_log(
                f'--cfg-options {name}: the config file itself uses this variable, and '
                'has been read: the option changes nothing that was made of it. Set '
                f'{others or "that"} instead.',
                logger='current',
                level=logging.WARNING,
            )
        return
    meant = similar(name, [*old, *runner_names()])
    if meant is None and places:
        meant = f'{min(places, key=lambda p: (p.count("."), p))}.{name}'
    if meant:
        raise ValueError(f'--cfg-options {name}: did you mean {meant}?')


def _check_argument(
    option: str,
    parents: list[str],
    word: str,
    node: Mapping,
    siblings: Mapping,
    scope: str,
) -> None:
    """Refuse a new key of a dict that the dict's class does not take."""
    choices = arguments_of(parents, node, scope)
    names = set(siblings).union(*(choice.names for choice in choices)) - {word}
    if any(word in choice.names for choice in choices):
        return
    meant = similar(word, names)
    is_open = not choices or any(choice.is_open for choice in choices)
    if is_open and meant is None:
        return
    what = f' of {type_name(node)}' if type_name(node) else ''
    raise ValueError(
        f'--cfg-options {option}: {".".join(parents)}{what} has no {word}; '
        f'{nearest(word, names)}'
    )


def _check_type(path: str, node: Mapping, scope: str) -> None:
    name = node.get('type')
    # LoRAModel names layers in the same way.
    if not isinstance(name, str) or '.targets.' in path or find_classes(name, scope):
        return
    known = {name for table in registered(scope) for name in table}
    if not known or '.' in name and not registries(name.split('.')[0]):
        return  # of a package that is not installed: building says so
    close = difflib.get_close_matches(name.rpartition('.')[2], known, 1)
    hint = (
        f'did you mean {close[0]}?'
        if close
        else 'import what has it by custom_imports.'
    )
    raise ValueError(f'{path or "The config"} has the unknown type {name!r}; {hint}')


def _check_train_cfg(train_cfg: Any) -> None:
    for name in ('max_epochs', 'max_iters'):
        value = (train_cfg or {}).get(name)
        if value is not None and (not _is_int(value) or value < 1):
            raise ValueError(
                f'train_cfg.{name} must be a whole number >= 1, got {value!r}.'
            )


def _check_optimizer(path: str, node: Mapping) -> None:
    clip = node.get('clip_grad')
    if clip is not None and not isinstance(clip, Mapping):
        raise ValueError(
            f'{path}.clip_grad must be a dict or None, got {clip!r}: give its parts, '
            f'{path}.clip_grad.max_norm=3.0'
        )
    norm = (clip or {}).get('max_norm')
    if norm is not None and (not _is_number(norm) or norm <= 0):
        raise ValueError(
            f'{path}.clip_grad.max_norm must be above 0, got {norm!r}; without '
            'clipping set clip_grad=None.'
        )
    if path.endswith('optimizer') and 'lr' in node:
        rate = node['lr']
        if not _is_number(rate) or not 0 < rate < math.inf:
            raise ValueError(f'{path}.lr must be a number above 0, got {rate!r}.')


def _check_values(path: str, node: Mapping) -> None:
    if path.endswith('loader'):
        for name, least in (('batch_size', 1), ('num_workers', 0)):
            value = node.get(name)
            if value is None:
                continue  # the default
            if not _is_int(value) or value < least:
                raise ValueError(
                    f'{path}.{name} must be a whole number >= {least}, got {value!r}.'
                )
    for name in PATHS:
        value, setting = node.get(name), f'{path}.{name}' if path else name
        # A checkpoint may also be a hook's settings.
        if isinstance(value, bool | int | float):
            raise ValueError(
                f'{setting} must be the name of a file or folder, got {value!r}.'
            )
        # Some data sets take several lists; a variable may be for anything.
        is_used = path or name in ('load_from', 'work_dir')
        if isinstance(value, list | tuple) and name != 'ann_file' and is_used:
            raise ValueError(
                f'{setting} must be the name of one file or folder, got {value!r}: '
                'name one; a name in brackets is given as ./[...]'
            )
    if path.endswith('dist_cfg'):
        seconds = node.get('timeout', 1)
        if not _is_number(seconds) or seconds <= 0:
            raise ValueError(
                f'{path}.timeout must be a number of seconds above 0, got {seconds!r}.'
            )
    if type_name(node) == 'KNNMonitorHook':
        ks, temperature = node.get('ks', ()), node.get('temperature', 1)
        check_knn(ks, temperature, f'{path} (KNNMonitorHook): ')
    elif path == 'knn':
        check_knn(node.get('k', ()), node.get('temperature', 1), 'knn: ')


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
