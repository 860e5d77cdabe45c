"""Runs of mmengine as their logs have them."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from glob import escape, glob
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

Curve = list[tuple[float, float]]
# Keys of baselines in a log begin so, e.g. 'baseline/raw pixels'.
BASELINE = 'baseline/'


class Run(NamedTuple):
    """What is drawn of a run.

    Args:
        steps: As of ``read_scalars``.
        epochs: The same over epochs; None where the log does not tell how many
            iterations an epoch has.
        baselines: k-NN accuracy in percent by what it is of, such as 'raw pixels'.
        uniform: Of each loss, and of the teacher's entropy, its weight and its value in
            nats where every output is uniform; none where no config lies beside the
            log.
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
    model = Config.fromfile(path, import_custom_modules=False).get('model') or {}
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
        ValueError: If a file is no log.
    """
    records = _join(_logs(source))
    return _curves((record['step'], record) for _, record in records)


def _join(logs: Sequence[str]) -> list[tuple[float, dict]]:
    """Records of all parts, with the last training step logged until then."""
    records: list[tuple[float, dict]] = []
    for path in logs:
        part = _read_log(path)
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


def _read_log(path: str) -> list[tuple[float, dict]]:
    """Records in order, each with the last training step logged until then."""
    with open(path) as file:
        lines = [line for line in file if line.strip()]
    records: list[tuple[float, dict]] = []
    done = 0.0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            step = record['step']
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) > 1:
                break  # cut off when the program was stopped
            raise ValueError(
                f'Line {number} of {path} is no record of mmengine with a step: '
                f'{line.strip()[:60]!r}; name a work folder, or its scalars.json.'
            ) from error
        if 'iter' in record:
            done = step
        records.append((done, record))
    return records


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
