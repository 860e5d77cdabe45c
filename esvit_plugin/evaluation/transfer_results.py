"""The file and the table of transfer results, of one model or of two to compare."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.checkpoints import atomic_file
from ..engine.configs import load_config
from .transfer import NAMES, config_path, in_order

# What is known of one model: its 'settings', and its 'results' by data set.
Column = dict[str, dict[str, Any]]


def read_columns(path: str, settings: list[dict[str, Any]]) -> list[Column]:
    """Results of earlier runs with the same settings.

    Args:
        path: The file; it need not exist.
        settings: Of the model, and of the one that it is compared with, if any.

    Returns:
        A column for each of the settings; if only one is asked for, another one of
        the file comes after it, so that writing keeps it.

    Raises:
        ValueError: If the file is of other settings, or is no file of results.
    """
    columns: list[Column] = [dict(settings=one, results={}) for one in settings]
    if not os.path.isfile(path):
        return columns
    with open(path, encoding='utf-8') as file:
        try:
            content = json.load(file)
            parts = [content, *filter(None, [content.get('against')])]
            known = [dict(settings=p['settings'], results=p['results']) for p in parts]
            for result in (r for p in parts for r in p['results'].values()):
                kinds = dict(value=int | float, metric=str)
                if not all(isinstance(result[k], kind) for k, kind in kinds.items()):
                    raise TypeError(result)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path} is no file of results of this tool; name another with --out.'
            ) from error
    for column, other in zip(columns, known, strict=False):
        # In the file tuples of the options are lists.
        if other['settings'] != json.loads(json.dumps(column['settings'])):
            raise ValueError(
                f'{path} has results of {other["settings"]}, not of '
                f'{column["settings"]}; name another file with --out.'
            )
        other['settings'] = column['settings']
    return [*known, *columns[len(known) :]]


def check_made_alike(
    path: str, column: Column, origins: Mapping[str, Mapping[str, str]]
) -> None:
    """Refuse results that were not made of what is asked for now.

    Args:
        path: Their file.
        column: Of one model.
        origins: What they would be made of now, by data set. What a result of an older
            version does not say passes.

    Raises:
        ValueError: If one was made of something else; the message names both.
    """
    for name, origin in origins.items():
        for key, value in origin.items():
            other = column['results'][name].get(key, value)
            if other == value:
                continue
            what = (
                f'the data folder {other}, not of {value}'
                if key == 'data_root'
                else f'what {column["settings"]["checkpoint"]} was before it was '
                'written over'
            )
            raise ValueError(
                f'{path} has a result of {name} of {what}; name another file with '
                '--out, or do all of them again by --force.'
            )


def keep_others(path: str, columns: list[Column], made: set[tuple[int, str]]) -> None:
    """Take over what another run has written to the file in the meantime.

    Data sets may be shared out to several GPUs, each with a run of its own.

    Args:
        path: The file.
        columns: As of ``read_columns``; what the file has beside is added, another
            column too.
        made: What this run has made itself, as numbers of columns and data sets: all
            other results are the file's, which may be newer.

    Raises:
        ValueError: As ``read_columns``.
    """
    others = read_columns(path, [column['settings'] for column in columns])
    for number, (column, other) in enumerate(zip(columns, others, strict=False)):
        for name, result in other['results'].items():
            if (number, name) not in made:
                column['results'][name] = result
    columns += others[len(columns) :]


def write_columns(path: str, columns: list[Column]) -> None:
    """Write all results; an interruption leaves the old file whole."""
    content: dict[str, Any] = dict(columns[0])
    if len(columns) > 1:
        content['against'] = columns[1]
    with (
        atomic_file(path, shared=True) as part,
        open(part, 'w', encoding='utf-8') as file,
    ):
        json.dump(content, file, indent=2)


def labels(columns: list[Column]) -> list[str]:
    """A short name for each model: its config's, and more where that is not enough."""
    settings = [column['settings'] for column in columns]
    short = [_short(one) for one in settings]
    for key in ('source', 'checkpoint'):
        if len(set(short)) == len(short):
            break
        more = [Path(one[key]).stem for one in settings]
        if len(set(more)) > 1:
            short = [', '.join(pair) for pair in zip(short, more, strict=True)]
    changes = [one.get('cfg_options') or {} for one in settings]
    if len(set(short)) < len(short) and changes[0] != changes[-1]:
        short = [
            ', '.join([name, *(f'{key}={value}' for key, value in change.items())])
            for name, change in zip(short, changes, strict=True)
        ]
    if len(set(short)) < len(short):
        # Files of one name in different folders.
        paths = [Path(one['checkpoint']) for one in settings]
        short = [
            f'{name}, {path.parent.name}/{path.name}'
            for name, path in zip(short, paths, strict=True)
        ]
    return short


def _short(settings: Mapping[str, Any]) -> str:
    config = str(settings['config'])
    if config == 'auto':
        return Path(settings['checkpoint']).stem
    return config if config.startswith('timm::') else Path(config).stem


def table(columns: list[Column]) -> str:
    """A Markdown table in the paper's order, and the mean over the paper's sets.

    Args:
        columns: One model, or one and that which it is compared with.

    Returns:
        The table; of two models with a line that counts where the first is better. A
        last line says which results are of configs that are not here any more.
    """
    results = [column['results'] for column in columns]
    titles = ['%'] if len(columns) == 1 else [f'{name}, %' for name in labels(columns)]
    lines = [_row('data set', 'metric', *titles), '|' + '---|' * (2 + len(columns))]
    unknown = []
    for name in in_order(name for column in results for name in column):
        try:
            title = load_config(config_path(name)).name
        except (OSError, ValueError, ImportError, AttributeError):
            # Of an earlier run, perhaps from another folder: the result stays.
            title = name
            unknown.append(name)
        metric = next(c[name]['metric'] for c in results if name in c)
        lines.append(_row(title, metric, *(_value(column, name) for column in results)))
    both = [name for name in results[0] if all(name in column for column in results)]
    done = [name for name in NAMES if name in both]
    if done:
        means = (np.mean([c[name]['value'] for name in done]) for c in results)
        lines.append(
            _row(
                f'mean of {len(done)} of {len(NAMES)}', '', *(f'{m:.2f}' for m in means)
            )
        )
    if len(columns) == 2 and both:
        lines += ['', _verdict(columns, both)]
    if unknown:
        lines += ['', f'No config can be read here of {", ".join(unknown)}.']
    return '\n'.join(lines)


def _row(*cells: str) -> str:
    return '|' + '|'.join(f' {cell} ' if cell else ' ' for cell in cells) + '|'


def _value(results: Mapping[str, Any], name: str) -> str:
    return f'{results[name]["value"]:.2f}' if name in results else ''


def _verdict(columns: list[Column], names: list[str]) -> str:
    """On how many data sets the first model is better than the second."""
    first, second = labels(columns)
    pairs = [[column['results'][name]['value'] for column in columns] for name in names]
    better = sum(mine > other for mine, other in pairs)
    equal = sum(mine == other for mine, other in pairs)
    text = f'{first} is better than {second} on {better} of {len(names)}'
    return f'{text}, and equal on {equal}' if equal else text
