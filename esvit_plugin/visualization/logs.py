"""Runs of mmengine as their logs have them."""

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterable, Sequence
from glob import escape, glob
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from ..config_text import read_settings

Curve = list[tuple[float, float]]
# Keys of baselines in a log begin so, e.g. 'baseline/raw pixels'.
BASELINE = 'baseline/'


def _warn(message: str) -> None:
    print_log(message, 'current', logging.WARNING)


class Run(NamedTuple):
    """What is drawn of a run.

    Args:
        steps: As of ``read_scalars``.
        epochs: The same over epochs; None where the log does not tell how many
            iterations an epoch has.
        baselines: k-NN accuracy in percent by what it is of, such as 'raw pixels'.
        uniform: Of each loss, and of the teacher's entropy, its weight and its value in
            nats where every output is uniform; none where no config that can be read
            lies beside the log.
    """

    steps: dict[str, Curve]
    epochs: dict[str, Curve] | None
    baselines: dict[str, float]
    uniform: dict[str, tuple[float, float]]


def read_run(source: str) -> Run:
    """Read a run, and where its curves stand.

    Args:
        source: As for ``read_scalars``, like the errors.
    """
    logs = _logs(source)
    records = _join(logs)
    steps = _curves((record['step'], record) for _, record in records)
    baselines = {
        key.removeprefix(BASELINE): points[-1][1]
        for key, points in steps.items()
        if key.startswith(BASELINE)
    }
    length = _epoch_length([record for _, record in records])
    epochs = None
    if length is not None:
        epochs = _curves(
            # What mmengine validates is counted in epochs already.
            (record['step'] / (1 if _counts_epochs(record, done) else length), record)
            for done, record in records
        )
    return Run(
        steps, epochs, baselines, _uniform(Path(logs[-1]).with_name('config.py'))
    )


def _counts_epochs(record: dict[str, Any], done: float) -> bool:
    """Whether a record's step is an epoch: iterations cannot lie before the last."""
    return 'iter' not in record and record['step'] < done


def _epoch_length(records: Sequence[dict[str, Any]]) -> int | None:
    """Iterations of an epoch: the fewest with which each lies in its epoch.

    Of a first epoch alone one cannot tell, unless something was evaluated at its end.
    """
    epoch, least, most, ends = 0, 0.0, math.inf, 0
    for record in records:
        if 'iter' in record:
            epoch = record.get('epoch', 0)
            if epoch < 1:
                return None
            least = max(least, record['iter'] / epoch)
            if epoch > 1:
                most = min(most, record['iter'] / (epoch - 1))
        elif epoch and record['step'] >= least * epoch:
            least, ends = max(least, record['step'] / epoch), epoch
    length = math.ceil(least)
    return length if (epoch > 1 or ends) and 0 < length < most else None


def _uniform(path: Path) -> dict[str, tuple[float, float]]:
    """Weight and weighted ln K of what an EsViT logs, as its config has them."""
    if not path.is_file():
        return {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        settings = read_settings(path.read_text(encoding='utf-8'))
        if settings is not None:
            return _uniform_of(settings['model'])
    _warn(f'{path} cannot be read, so no line shows what a uniform output would have.')
    return {}


def _uniform_of(model: dict[str, Any]) -> dict[str, tuple[float, float]]:
    if model.get('type') != 'EsViT':
        return {}
    weight = model.get('region_weight', 0.5) if model.get('region_neck') else 0.0
    weights = {'neck': 1 - weight, 'region_neck': weight}
    log_k = {
        name: math.log(model[name].get('out_channels', 65536))
        for name, share in weights.items()
        if share
    }
    uniform = {
        f'loss_{"view" if name == "neck" else "region"}': (
            weights[name],
            weights[name] * value,
        )
        for name, value in log_k.items()
    }
    uniform['loss'] = 1.0, math.fsum(value for _, value in uniform.values())
    for name, value in log_k.items():
        uniform['teacher_entropy' if name == 'neck' else 'region_entropy'] = 1.0, value
    return uniform


def read_scalars(source: str) -> dict[str, Curve]:
    """Curves of a run by key, those of resumed parts joined.

    What a resumed part has trained again, from its first step on, takes the place of
    what was logged before; so does a run started anew in the same work folder.

    Args:
        source: A work folder of mmengine, one of its parts (named by its time), or a
            log, ``scalars.json`` or another with one JSON object per line.

    Returns:
        For each key its points (step, value). Steps are iterations in training, and
        what mmengine counts, mostly epochs, in validation.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no log in it.
        ValueError: If a file is no log, or a step, epoch or iteration no number.
    """
    records = _join(_logs(source))
    return _curves((record['step'], record) for _, record in records)


def _join(logs: Sequence[str]) -> list[tuple[float, dict]]:
    """Records of all parts, with the last training step logged until then."""
    records: list[tuple[float, dict]] = []
    for path in logs:
        part = _read_log(path, alone=len(logs) == 1)
        first = next((r['step'] for _, r in part if 'iter' in r), math.inf)
        records = [(done, r) for done, r in records if done < first] + part
    return records


def _curves(records: Iterable[tuple[float, dict]]) -> dict[str, Curve]:
    """The points of each key."""
    curves: dict[str, Curve] = {}
    for place, record in records:
        for key, value in record.items():
            if key != 'step' and isinstance(value, int | float):
                curves.setdefault(key, []).append((place, value))
    return curves


def _logs(source: str) -> list[str]:
    """The logs of a run, oldest first: the folders' names are times."""
    if os.path.isfile(source):
        return [source]
    if not os.path.isdir(source):
        raise FileNotFoundError(f'There is no log or work folder {source}.')
    inside = os.path.join('vis_data', 'scalars.json')
    logs = [
        path
        for pattern in (inside, os.path.join('*', inside))
        for path in sorted(glob(os.path.join(escape(source), pattern)))
    ]
    if not logs:
        raise FileNotFoundError(
            f'There is no {inside} in {source} or in its folders: it is no work folder '
            'of mmengine, or the LocalVisBackend was switched off.'
        )
    return logs


def _read_log(path: str, alone: bool) -> list[tuple[float, dict]]:
    """Records in order, each with the last training step logged until then.

    Lines that a kill or a full disk has cut are left out, unless a log that is alone
    has no others.
    """
    with open(path, 'rb') as file:
        lines = [(n, line) for n, line in enumerate(file, 1) if line.strip()]
    records: list[tuple[float, dict]] = []
    cut: list[tuple[int, bytes]] = []
    done = 0.0
    for number, line in lines:
        try:
            record = json.loads(line.decode())
        except (ValueError, RecursionError):
            cut.append((number, line))
            continue
        if not isinstance(record, dict) or 'step' not in record:
            raise _no_record(path, number, line)
        for name in ('step', 'epoch', 'iter'):
            value = record.get(name, 0)
            # What is larger need be no float.
            if not isinstance(value, int | float) or not abs(value) < 2**63:
                raise ValueError(
                    f'Line {number} of {path} has {name} {value!r:.30}, which is no '
                    'number of a training; correct the line or delete it.'
                )
        if 'iter' in record:
            done = record['step']
        records.append((done, record))
    if cut and alone and not records:
        raise _no_record(path, *cut[0])
    # A program that is stopped, or goes on, may have cut the last one.
    if cut and (cut != lines[-1:] or not records):
        numbers = ', '.join(str(number) for number, _ in cut[:5])
        more = f' and {len(cut) - 5} more' if len(cut) > 5 else ''
        _warn(f'{path}: left out as cut or damaged: line {numbers}{more}.')
    return records


def _no_record(path: str, number: int, line: bytes) -> ValueError:
    return ValueError(
        f'Line {number} of {path} is no record of mmengine with a step: '
        f'{line.decode(errors="replace").strip()[:60]!r}; name a work folder, or its '
        'scalars.json.'
    )


def run_names(sources: Sequence[str]) -> list[str]:
    """Short names of runs: their folders', with as many parents as tell them apart.

    Args:
        sources: As ``read_scalars`` takes them.
    """
    parts = []
    for source in sources:
        path = Path(os.path.abspath(source))
        if path.name == 'scalars.json':
            path = path.parent.parent if path.parent.name == 'vis_data' else path.parent
        parts.append(path.with_suffix('').parts if path.is_file() else path.parts)
    length = 1
    while len({part[-length:] for part in parts}) < len(set(parts)):
        length += 1
    return ['/'.join(part[-length:]) for part in parts]
