"""The transfer evaluation of a model, or of two to compare, over many data sets."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from ..engine.cli import Failure, describe
from ..engine.fingerprints import fingerprint
from .dumped_config import evaluated_config
from .loading import find_evaluated, load_backbone, network_of
from .transfer import check_data, check_sizes, evaluate, in_order, load_data_config
from .transfer_results import (
    Column,
    check_made_alike,
    keep_others,
    labels,
    read_columns,
    table,
    write_columns,
)


def model_settings(
    config: str,
    checkpoint: str,
    student: bool = False,
    features: str = 'pooled',
    num_blocks: int = 4,
    options: dict[str, Any] | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """What decides the results of a model.

    Args:
        config: As for ``load_backbone``.
        checkpoint: As for ``load_backbone``.
        student: Whether an ``EsViT``'s student is evaluated. Defaults to False.
        features: As for ``FrozenBackbone.feature_function``. Defaults to 'pooled'.
        num_blocks: How many of the last blocks. Defaults to 4.
        options: Of ``--cfg-options``. Defaults to None.
        size: As for ``evaluate``. Defaults to None.

    Raises:
        ValueError: As ``find_evaluated`` and ``network_of``.
    """
    settings = dict(
        config=config,
        checkpoint=checkpoint,
        source=network_of(find_evaluated(config, options), student),
        features=features,
        num_blocks=num_blocks if features == 'last_blocks' else None,
    )
    # Only where there are any: files of older versions have none.
    others = dict(cfg_options=options, size=size)
    return {**settings, **{name: value for name, value in others.items() if value}}


def evaluate_models(
    settings: list[dict[str, Any]],
    datasets: Iterable[str],
    data_root: str,
    out: str,
    force: bool = False,
    loader: Mapping[str, Any] | None = None,
) -> None:
    """Evaluate models data set by data set, and print a table at the end.

    Each result is printed and written at once. A data set that fails does not stop the
    others.

    Args:
        settings: Of ``model_settings``, for one model or for two to compare.
        datasets: Names of ``transfer.NAMES``, or config files.
        data_root: Folder of the data sets' folders.
        out: File of results, ``.json``; data sets that are in it are left out.
        force: Whether these are done again. Defaults to False.
        loader: Options of the ``DataLoader`` in place of the config's.

    Raises:
        ValueError: If the file is of other settings, or has results of another data
            folder, or of a checkpoint that was written over since; or if a data set
            has sizes of its own where one is asked for.
        FileNotFoundError: If a data set is not there; before anything runs.
        Failure: At the end, if data sets failed; the message has the reasons.
    """
    stored = read_columns(out, settings)
    columns = stored[: len(settings)]
    asked = {name: load_data_config(name, data_root) for name in in_order(datasets)}
    roots = {name: _root(cfg) for name, cfg in asked.items()}
    contents = [_content(column['settings']) for column in columns]
    for column, content in zip(columns, contents, strict=True):
        kept = column['results'].keys() - (asked if force else ())
        origins = {name: {**content, **roots.get(name, {})} for name in kept}
        check_made_alike(out, column, origins)
    cfgs = {
        name: cfg
        for name, cfg in asked.items()
        if force or any(name not in column['results'] for column in columns)
    }
    check_data(cfgs)
    check_sizes(cfgs, settings[0].get('size'))
    _tell_left_out(out, columns, [name for name in asked if name not in cfgs])
    for cfg in cfgs.values():
        cfg.loader.update(loader or {})
    failures = _evaluate_missing(columns, contents, stored, cfgs, out, force)
    print('\n' + table(columns))
    if failures:
        reasons = ', '.join(f'{name} ({why})' for name, why in failures.items())
        raise Failure(
            f'{len(failures)} of {len(cfgs)} data sets failed; the others are in '
            f'{out}, and are left out when this is run again:\n'
            + ' '.join(reasons.split())
        )


def _content(settings: Mapping[str, Any]) -> dict[str, str]:
    """What tells a checkpoint from a later one of its name, kept with each result."""
    digest = fingerprint(settings['checkpoint'])
    return {} if digest is None else dict(checkpoint_digest=digest)


def _root(cfg: Config) -> dict[str, str]:
    """Where the images of a data set are, as it is kept with its result."""
    root = cfg.get('data_root')
    return {} if root is None else dict(data_root=os.path.realpath(root))


def _tell_left_out(out: str, columns: list[Column], names: list[str]) -> None:
    """Say which results of the file are not made again."""
    if not names:
        return
    print(f'{out} has {", ".join(names)} already; --force does them again.')
    old = [
        name
        for name in names
        if any('data_root' not in column['results'][name] for column in columns)
    ]
    if old:
        print(f'Of {", ".join(old)} it does not say from which data folder.')


def _evaluate_missing(
    columns: list[Column],
    contents: list[dict[str, str]],
    stored: list[Column],
    cfgs: dict[str, Config],
    out: str,
    force: bool,
) -> dict[str, str]:
    """Fill the columns, writing all that is stored after each result.

    Returns:
        Why data sets failed, by their name.
    """
    missing = {
        name: [c for c in columns if force or name not in c['results']] for name in cfgs
    }
    needed = {id(column): column for group in missing.values() for column in group}
    # Before anything runs, since a checkpoint may not fit.
    evaluators = {key: _Evaluator(one['settings']) for key, one in needed.items()}
    origins = dict(zip(map(id, columns), contents, strict=True))
    titles = dict(zip(map(id, columns), labels(columns), strict=True))
    failures = {}
    made: set[tuple[int, str]] = set()
    for name, cfg in cfgs.items():
        for column in missing[name]:
            try:
                result = evaluators[id(column)](cfg)
            except Exception as error:
                # A night's run goes on with the other sets.
                failures[name] = describe(error)
                print(f'\n{cfg.name} failed: {failures[name]}', flush=True)
                break
            column['results'][name] = {**result, **origins[id(column)], **_root(cfg)}
            # The first of those that are stored are the columns.
            made.add((columns.index(column), name))
            keep_others(out, stored, made)
            write_columns(out, stored)
            of = f', {titles[id(column)]}' if len(columns) > 1 else ''
            print(
                f'{cfg.name}{of}: {cfg.metric} {result["value"]:.2f} %, '
                f'C = {result["c"]:.3g}, {result["seconds"]:.0f} s',
                flush=True,
            )
    return failures


class _Evaluator:
    """One of the models.

    Args:
        settings: Of ``model_settings``.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        checkpoint, options = settings['checkpoint'], settings.get('cfg_options')
        student = settings['source'] == 'student'
        with evaluated_config(settings['config'], checkpoint, options) as config:
            self.model = load_backbone(config, checkpoint, student)
        self.model.to(get_device())
        self.size = settings.get('size')
        self.extract = self.model.feature_function(
            settings['features'], settings['num_blocks'] or 1
        )

    def __call__(self, cfg: Config) -> dict[str, Any]:
        """Evaluate a data set."""
        return evaluate(self.model, self.extract, cfg, dict(cfg.loader), self.size)
