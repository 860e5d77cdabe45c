"""Reading a config, with messages that name the file and the line."""

import ast
import copy
import functools
import importlib
import logging
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from .cli import describe
from .config_checks import PATHS, check_config, check_options, check_paths, dicts
from .variables import reach_copies, spread_bit_depth

# A link in a checkout.
CONFIGS = (Path(__file__).parents[1] / '.mim' / 'configs').resolve()
# Settings that name files and folders.
LOCATIONS = {*PATHS, 'data_prefix', 'tsv_file', 'zip_file', 'selection', 'out_dir'}
LOCATIONS |= {'label_file', 'label_map', 'lineidx'}
CONFIG_ENDINGS = ('.py', '.json', '.yaml', '.yml')


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    A config names its data folder once, as the variable ``data_root``, and uses it
    in several data sets. ``--cfg-options data_root=...`` therefore replaces the old
    value in all of them, and in the paths of evaluators, which mmengine by itself does
    not do. So does the variable in
    a config that has another as its ``_base_``, if none of its data sets uses it yet.
    ``bit_depth`` reaches all that load images (``variables.spread_bit_depth``), other
    variables their copies (``variables.reach_copies``).

    Args:
        path: The config file, or the name of one of this package.
        options: Overrides by dotted name.

    Returns:
        The merged config.

    Raises:
        FileNotFoundError: If there is no such file, or one of its ``_base_``.
        ImportError: If ``custom_imports`` names what cannot be imported.
        ValueError: If the file has a mistake, or the config has a name or a value that
            cannot be right; see ``config_checks``.
    """
    path = config_path(path)
    cfg = read_config(path)
    spread_data_root(cfg, set())
    return apply_options(cfg, options, path)


def apply_options(cfg: Config, options: dict[str, Any] | None, path: str) -> Config:
    """Apply ``--cfg-options`` to a config that was read, and check it.

    Args:
        cfg: The config; it is changed.
        options: Overrides by dotted name; see ``load_config``.
        path: Where it is from, for messages.

    Returns:
        The same config.

    Raises:
        ImportError: If ``custom_imports`` names what cannot be imported.
        ValueError: If the config or the options have a name or a value that cannot be
            right.
    """
    options = dict(options or {})
    check_paths(cfg, options)
    old = copy.deepcopy(cfg) if options else cfg
    if 'data_root' in options:
        if 'data_root' not in cfg:
            raise ValueError(
                f'{path} has no variable data_root; set the data_root of its data '
                'sets instead, e.g. train_dataloader.dataset.data_root=...'
            )
        cfg.data_root = options['data_root']
        if isinstance(old.data_root, str):
            _replace_data_root(cfg, {old.data_root})
    spread_bit_depth(cfg, options)
    cfg.merge_from_dict(reach_copies(old, options))
    import_custom_modules(cfg, path)
    check_options(old, cfg, options)
    check_config(cfg)
    expand_home(cfg)
    return cfg


def expand_home(cfg: Config | Mapping) -> None:
    """Write out the ``~`` of all files and folders, as most data sets do not.

    Args:
        cfg: The config, or the settings of one; changed in place.
    """
    for _, node in dicts(getattr(cfg, '_cfg_dict', cfg)):
        for name in LOCATIONS & set(node):
            node[name] = _without_home(node[name])


def _without_home(value: Any) -> Any:
    """A path, or those in a list or by name, with ``~`` written out."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return os.path.expanduser(text) if text[:1] == '~' else value
    if isinstance(value, list | tuple):
        return type(value)(map(_without_home, value))
    if isinstance(value, Mapping):
        return {name: _without_home(part) for name, part in value.items()}
    return value


def spread_data_root(cfg: Config, before: set[str] | None = None) -> None:
    """Give the variable ``data_root`` to the data sets that are of the config's bases.

    Args:
        cfg: The config; its data sets are changed. One whose own data sets use the
            variable leaves the others alone, but for those without any folder.
        before: Other values that the variable had. Defaults to None, what its file has.
    """
    path = cfg.filename or ''
    if not isinstance(cfg.get('data_root'), str) or not os.path.isfile(path):
        return
    if before is None:
        before = _own_data_root(path)
    roots = (before | _base_data_roots(path)) - {cfg.data_root}
    nodes = [node for _, node in dicts(cfg._cfg_dict) if 'type' in node]
    is_used = any(node.get('data_root') == cfg.data_root for node in nodes)
    _replace_data_root(cfg, roots & {''} if is_used else roots)


def _replace_data_root(cfg: Config, old: set[str]) -> None:
    """Give what uses old values of the variable its present one.

    Data sets join it with their files; for an evaluator the file has joined them.
    """
    for path, node in dicts(cfg._cfg_dict):
        root = node.get('data_root')
        if isinstance(root, str) and root in old:
            node['data_root'] = cfg.data_root
        if path.split('.')[0].endswith('_evaluator'):
            for name, value in node.items():
                if not name.startswith('out'):  # where results go
                    node[name] = _moved(value, old, cfg.data_root)


def _moved(value: Any, old: set[str], new: Any) -> Any:
    """A path in one of some folders, in another one; anything else as it is."""
    folders = sorted((root.rstrip('/') + '/' for root in old if root), key=len)
    for folder in reversed(folders if isinstance(new, str) else []):
        if isinstance(value, str) and value.startswith(folder):
            return os.path.join(new, value.removeprefix(folder))
    return value


def _own_data_root(path: str) -> set[str]:
    """What a config has as ``data_root``, if anything."""
    root = Config.fromfile(path, import_custom_modules=False).get('data_root')
    return {root} if isinstance(root, str) else set()


def _base_data_roots(path: str) -> set[str]:
    """What the configs that a file is based on have as ``data_root``."""
    if not path.endswith('.py'):
        return set()
    roots: set[str] = set()
    for base in _read_bases(path):
        # Also those of installed packages, 'PACKAGE::PATH'.
        file_name, _ = Config._get_cfg_path(base, path)
        roots |= _own_data_root(file_name) | _base_data_roots(file_name)
    return roots


def read_config(path: str) -> Config:
    """Read a config file, without the modules that it wants imported.

    Args:
        path: The file, or the name of a config of this package, e.g. 'esvit_swin_t'.

    Raises:
        FileNotFoundError: If it, or one of its ``_base_``, does not exist.
        ValueError: If it cannot be read; the message has file and line.
    """
    path = config_path(path)
    if os.path.isdir(path):
        raise ValueError(f'The config {path} is a folder; name a file in it.')
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no config file {path}.{_found_at(path)}')
    if not path.endswith(CONFIG_ENDINGS):
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


@functools.cache
def named_configs() -> dict[str, Path]:
    """All configs of this package by name; the parts that they inherit are none."""
    return {
        path.stem: path
        for path in sorted(CONFIGS.rglob('*.py'))
        if '_base_' not in path.relative_to(CONFIGS).parts
    }


def config_path(name: str) -> str:
    """The file of a config of this package by its name; anything else unchanged.

    Args:
        name: A path, or a name such as 'esvit_swin_t'. A file of that name goes first.
    """
    return name if os.path.isfile(name) else str(named_configs().get(name, name))


def _found_at(path: str) -> str:
    """Where this package has a config of the name of a missing one, as a sentence.

    Names stay when files move into folders; bases of models have lost their prefix.
    """
    name = os.path.basename(path)
    files = [file for file in named_configs().values() if file.name == name]
    if '_base_' in Path(path).parts:
        files = [*CONFIGS.glob(f'_base_/**/{name.removeprefix("esvit_")}')]
    paths = [
        os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
        for file in files
    ]
    return f' This package has {" and ".join(paths)}.' if paths else ''


def _read_source(path: str) -> str:
    """The text of a config file, which mmengine reads as UTF-8."""
    data, text = Path(path).read_bytes(), ''
    try:
        text = data.decode()
        place = data.find(b'\0')  # as in UTF-16 without its mark
    except UnicodeDecodeError as error:
        place = error.start
    if place >= 0:
        line = data.count(b'\n', 0, place) + 1
        raise ValueError(
            f'{path}, line {line}: the config is no UTF-8 text, as it has the byte '
            f'{data[place]:#04x} there: save it as UTF-8.'
        )
    return text


def _check_source(path: str, parents: tuple[str, ...]) -> None:
    """Refuse syntax errors and missing ``_base_`` with the line where they are."""
    text = _read_source(path)
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
    for line, base in _bases(path, body):
        if '::' in base:
            continue
        file_name = os.path.normpath(os.path.join(os.path.dirname(path), base))
        if not os.path.isfile(file_name) or file_name in parents:
            problem = 'includes itself by' if file_name in parents else 'lacks'
            raise FileNotFoundError(
                f'{path}, line {line}: the config {problem} its _base_ '
                f'{base} ({file_name}).'
                + ('' if file_name in parents else _found_at(file_name))
            )
        _check_source(file_name, (*parents, os.path.normpath(path)))


def _read_bases(path: str) -> list[str]:
    """The ``_base_`` of a config file that has passed ``_check_source``."""
    text = _read_source(path)
    # What mmengine replaces first need not be Python.
    if '{{$' in text:
        return []
    return [base for _, base in _bases(path, ast.parse(text).body)]


def _bases(path: str, body: list[ast.stmt]) -> list[tuple[int, str]]:
    """Line and value of each ``_base_`` of a config file."""
    bases: list[tuple[int, str]] = []
    for node in body:
        names = [getattr(t, 'id', '') for t in getattr(node, 'targets', ())]
        if not isinstance(node, ast.Assign) or names != ['_base_']:
            continue
        # It may be computed; mmengine evaluates it in the same way.
        expression = compile(ast.Expression(node.value), '_base_', 'eval')
        try:
            value = eval(expression, {})
        except Exception:
            continue  # reading the config will say
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(base, str) for base in values):
            raise ValueError(
                f'{path}, line {node.lineno}: _base_ must be the name of a config, or '
                f'a list of names, got {value!r}; leave it out if there is none.'
            )
        bases += [(node.lineno, base) for base in values]
    return bases


def import_custom_modules(cfg: Config, path: str) -> None:
    """Import what a config names in ``custom_imports``.

    Args:
        cfg: The config.
        path: Its file, for the message.

    Raises:
        ImportError: If one cannot be imported, unless ``allow_failed_imports`` is set.
        ValueError: If it is no dict with names.
    """
    wanted = cfg.get('custom_imports') or {}
    names = wanted.get('imports') or [] if isinstance(wanted, dict) else None
    names = [names] if isinstance(names, str) else names
    is_list = isinstance(names, list | tuple)
    if names is None or not is_list or not all(isinstance(n, str) for n in names):
        raise ValueError(
            f"{path}: custom_imports must be dict(imports=['NAME', ...]), got "
            f'{wanted!r}.'
        )
    for name in names:
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
    kept = [
        schedule
        for schedule in schedules
        # Of one by iterations begin counts those, not epochs.
        if 'end' in schedule
        or not schedule.get('by_epoch', True)
        or schedule.get('begin', 0) < max_epochs
    ]
    if len(kept) < len(schedules):
        print_log(
            f'max_epochs={max_epochs}: the training ends before the warm-up does.',
            logger='current',
            level=logging.WARNING,
        )
    cfg.param_scheduler = kept
