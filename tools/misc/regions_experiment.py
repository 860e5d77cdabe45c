"""Does the region task improve region correspondence? Writes docs/regions.md.

    python tools/misc/regions_experiment.py
    python tools/misc/regions_experiment.py --jobs 12     # on a GPU, or many cores

Trains a small Swin with the view task alone (V), with both tasks (V+R), and with the
region task from half of the epochs on, rounded down: first in several settings of one
seed, then in the best of them with other seeds. What was measured is kept in
docs/regions.json and not repeated, and a training that was stopped goes on.
"""

import argparse
import json
import math
import statistics
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from regions_settings import SETTINGS, VIEW_ALONE
from tool_runs import ROOT, fill_page, read_json, run, seconds, table, wrapped

from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.engine.configs import load_config
from esvit_plugin.visualization.logs import read_scalars

CONFIG = 'configs/demo/esvit_swin_regions.py'
WORK_DIR = 'work_dirs/regions'
# The words of the page, and the page.
PAGE = Path(__file__).with_suffix('.md')
OUT = ROOT / 'docs' / 'regions.md'
# What was measured, by name of the run.
ROWS = ROOT / 'docs' / 'regions.json'
# As the page says: settings are chosen on the first, the others were named before.
SEARCH_SEED, SEEDS = 0, (1, 2, 3, 4, 5)
V, BOTH, TWO, RANDOM = 'view', 'both', 'two_phase', 'random'
NETWORKS = {
    RANDOM: 'random weights',
    V: 'V',
    BOTH: 'V+R',
    TWO: 'V, then V+R',
}
# The measure that decides: no brightness to match by, no textures, and all matches.
FAIR = 'relit_all'
MEASURES = {
    'mirrored': 'mirrored, 10',
    'mirrored_all': 'mirrored, all',
    'relit': 'relit, 10',
    'relit_all': 'relit, all',
    'inverted': 'negative, 10',
    'relit_textures': 'relit textures, 10',
    'likeness': 'likeness',
    'knn': '20-NN',
    'linear': 'linear',
}
# In the table of settings alone; what of the log it comes from.
INFORMATION = {
    'views': ('prototypes_used', 'teacher_entropy'),
    'regions': ('region_prototypes_used', 'region_entropy'),
}
Values = dict[str, float]


class Run(NamedTuple):
    """A network of the experiment.

    Args:
        network: One of ``NETWORKS``.
        seed: Of everything.
        setting: One of ``SETTINGS``.
    """

    network: str
    seed: int
    setting: str

    @property
    def name(self) -> str:
        """Its key in the rows."""
        letters = (c if c.isalnum() else '_' for c in self.setting.lower())
        return f'{"".join(letters)}/{self.network}_{self.seed}'

    @property
    def folder(self) -> str:
        """Its work folder, seen from the root."""
        return f'{WORK_DIR}/{self.name}'

    @property
    def config(self) -> str:
        """The config as training has written it."""
        return f'{self.folder}/{Path(CONFIG).name}'

    @property
    def options(self) -> tuple[str, ...]:
        """``--cfg-options`` that make it of the config."""
        views = VIEW_ALONE if self.network == V else ()
        return (f'randomness.seed={self.seed}', *SETTINGS[self.setting], *views)

    def checkpoint(self, epoch: int) -> str:
        """The checkpoint of an epoch."""
        return f'{self.folder}/epoch_{epoch}.pth'

    def command(self) -> list[str]:
        """The arguments of Python that train it, or go on with it."""
        words = ['tools/train.py', CONFIG, '--work-dir', self.folder, '--resume']
        begun = any((ROOT / self.folder).glob('*.pth'))
        if self.network == TWO and not begun:
            words.append(self._replace(network=V).checkpoint(epochs(self) // 2))
        return [*words, '--cfg-options', *self.options]


def epochs(one: Run) -> int:
    """Of the whole training."""
    values = [option.split('=') for option in SETTINGS[one.setting]]
    own = dict(pair for pair in values if len(pair) == 2)
    default = load_config(str(ROOT / CONFIG)).train_cfg.max_epochs
    return int(own.get('train_cfg.max_epochs', default))


_lock = threading.Lock()


def rows() -> dict[str, Any]:
    """What was measured so far.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        found = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    except ValueError as error:
        raise ValueError(f'{ROWS} is no JSON ({error}): mend or remove it.') from error
    if not isinstance(found, dict):
        raise ValueError(f'{ROWS} holds no rows by name: mend or remove it.')
    return found


def add_row(one: Run, record: dict[str, Any]) -> None:
    """Keep what was measured of a network."""
    with _lock, atomic_file(ROWS) as part:
        everything = dict(sorted({**rows(), one.name: record}.items()))
        Path(part).write_text(json.dumps(everything, indent=1) + '\n')


def train(one: Run) -> None:
    """Train a network, or leave one that was measured; its first command is kept."""
    if one.name in rows():
        return
    words = one.command()
    note = ROOT / one.folder / 'command.txt'
    if not note.is_file():
        note.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(note) as part:
            Path(part).write_text(wrapped(['python', *words]))
    run(*words)


def step_seconds(one: Run) -> float:
    """The seconds of its training, from its row or its log."""
    record = rows().get(one.name)
    return record['seconds'] if record else seconds(one.folder)


def information(folder: str) -> dict[str, float]:
    """What the teacher's targets tell of an image, in nats, at the end of the log.

    The entropy of the mean target less the mean entropy of a target: 0 if all images,
    or all regions, have the same target.
    """
    scalars = read_scalars(str(ROOT / folder))
    found = {}
    for name, pair in INFORMATION.items():
        if pair[0] in scalars:
            used, entropy = (scalars[key][-1][1] for key in pair)
            found[name] = math.log(used) - entropy
    return found


def equal_time(one: Run) -> int:
    """The epoch until which a network has trained as long as V has in all."""
    total = epochs(one)
    if one.network == V:
        return total
    first, both = (step_seconds(one._replace(network=n)) for n in (V, BOTH))
    # A step of the second phase costs what one of both tasks does.
    before = total // 2 if one.network == TWO else 0
    after = int((total - before) * first / both)
    return min(total, before + max(1, after))


def measure(one: Run, ends: Sequence[int], config: str = '') -> None:
    """Measure a network after these epochs.

    Random weights are those of V+R before; ``config`` is the file of another such.
    """
    if one.name in rows():
        return
    random = one.network == RANDOM
    both = config or one._replace(network=BOTH).config
    (ROOT / one.folder).mkdir(parents=True, exist_ok=True)
    words = [both] if random else [one.config, *map(one.checkpoint, ends)]
    out = f'{one.folder}/measures.json'
    done = run('tools/misc/regions_measures.py', *words, '--seed', one.seed, '-o', out)
    record = dict(command=done.command, epochs=list(ends), measures=read_json(out))
    if not random:
        note = ROOT / one.folder / 'command.txt'
        record.update(
            training=note.read_text(),
            seconds=round(seconds(one.folder)),
            information=information(one.folder),
        )
    add_row(one, record)


def stand_in(one: Run) -> Run:
    """The same network of the first setting in which it is the same.

    Random weights depend on the backbone alone, and V on nothing of regions.
    """

    def own(setting: str) -> list[str]:
        options = SETTINGS[setting]
        if one.network == RANDOM:
            return [option for option in options if 'backbone' in option]
        return [option for option in options if 'region' not in option]

    if one.network not in (RANDOM, V):
        return one
    same = (name for name in SETTINGS if own(name) == own(one.setting))
    return one._replace(setting=next(same))


def search(setting: str, jobs: ThreadPoolExecutor) -> list[Future]:
    """Begin to train and measure V and V+R of one setting, and random weights."""

    def one_of(one: Run) -> None:
        train(one)
        measure(one, [epochs(one)])
        if one.network == BOTH:
            measure(stand_in(one._replace(network=RANDOM)), [0], one.config)

    runs = [Run(network, SEARCH_SEED, setting) for network in (V, BOTH)]
    return [jobs.submit(partial(one_of, one)) for one in runs if stand_in(one) == one]


def compare(setting: str, jobs: ThreadPoolExecutor) -> None:
    """Train all networks with all seeds; measure at the end, and in V's time."""

    def measure_one(one: Run) -> None:
        ends = [0] if one.network == RANDOM else [equal_time(one), epochs(one)]
        measure(one, sorted(set(ends)))

    def do(task: Callable[[Run], None], *networks: str) -> None:
        list(jobs.map(task, [Run(n, s, setting) for s in SEEDS for n in networks]))

    do(train, BOTH, V)
    do(measure_one, BOTH, V, RANDOM)
    do(train, TWO)
    do(measure_one, TWO)


def values_of(one: Run, at_end: bool = True) -> Values:
    """What was measured at the end, or after as long as V has trained."""
    found: list[Values] = rows()[one.name]['measures']
    return found[-1 if at_end else 0]


def searched() -> list[str]:
    """The settings that are measured."""
    done = rows()
    return [
        name
        for name in SETTINGS
        if all(stand_in(Run(n, SEARCH_SEED, name)).name in done for n in (V, BOTH))
    ]


def lead(setting: str) -> float:
    """By how much V+R is above both V and random weights in the fair measure."""
    both = Run(BOTH, SEARCH_SEED, setting)
    others = [stand_in(both._replace(network=network)) for network in (V, RANDOM)]
    return values_of(both)[FAIR] - max(values_of(one)[FAIR] for one in others)


def mean_and_error(values: Sequence[float]) -> str:
    """Mean and its standard error."""
    mean = f'{statistics.mean(values):.1f}'
    if len(values) < 2:
        return mean
    return f'{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.1f}'


def cells(values: Sequence[Values]) -> list[str]:
    """The measures of a row, over its seeds."""
    return [mean_and_error([one[name] for one in values]) for name in MEASURES]


def search_table() -> str:
    """All settings of the first seed that are measured."""
    lines = []
    for setting in searched():
        for network in (RANDOM, V, BOTH):
            one = Run(network, SEARCH_SEED, setting)
            if stand_in(one) == one:
                title = f'{setting}: {NETWORKS[one.network]}'
                nats = rows()[one.name].get('information', {})
                told = [
                    f'{nats[key]:.1f}' if key in nats else '' for key in INFORMATION
                ]
                lines.append([title, *cells([values_of(one)]), *told])
    nats_titles = [f'{key}, nats' for key in INFORMATION]
    return table(['', *MEASURES.values(), *nats_titles], lines)


def seeds_of(setting: str) -> set[str]:
    """The names of all networks of a setting with all seeds."""
    return {Run(n, s, setting).name for n in NETWORKS for s in SEEDS}


def final_tables(setting: str) -> tuple[str, str]:
    """The networks of the best setting, and what differs with the seed equal."""
    header = [setting, *MEASURES.values()]
    if not seeds_of(setting) <= set(rows()):
        return (table(['not measured yet'], []),) * 2
    lines, changes = [], []
    values = {
        (name, at_end): [values_of(Run(name, seed, setting), at_end) for seed in SEEDS]
        for name in NETWORKS
        for at_end in (True, False)
    }
    for name, title in NETWORKS.items():
        lines.append([title, *cells(values[name, True])])
    pairs = [(first, RANDOM, True) for first in (V, BOTH, TWO)]
    pairs += [(first, V, at_end) for at_end in (True, False) for first in (BOTH, TWO)]
    for first, second, at_end in pairs:
        differences = [
            {key: mine[key] - theirs[key] for key in MEASURES}
            for mine, theirs in zip(
                values[first, at_end], values[second, True], strict=True
            )
        ]
        when = '' if at_end else ', in equal time'
        title = f'{NETWORKS[first]} minus {NETWORKS[second]}{when}'
        changes.append([title, *cells(differences)])
    return table(header, lines), table(header, changes)


def commands() -> str:
    """What was run for one seed of the config as it is, in Markdown."""
    lines = ['```bash']
    setting = next(iter(SETTINGS))
    for network in (V, BOTH, RANDOM):  # the last one reads what V+R has written
        record = rows().get(Run(network, SEARCH_SEED, setting).name, {})
        lines += [record[key] for key in ('training', 'command') if key in record]
    return '\n'.join([*lines, '```'])


def write_page() -> str:
    """Write the page of what is measured; the best setting so far.

    The settings that are measured with all seeds stand there with the best one first.
    """
    order = sorted(searched(), key=lead, reverse=True)
    done = set(rows())
    whole = [name for name in order if seeds_of(name) <= done]
    pairs = [final_tables(name) for name in whole or order[:1]]
    ends = ['\n\n'.join(same) for same in zip(*pairs, strict=True)]
    tables = [search_table(), *ends]
    fill_page(PAGE, OUT, __file__, table=tables, commands=[commands()])
    print(f'Best setting: {order[0]}, by {lead(order[0]):.1f} points')
    return order[0]


def main() -> None:
    """Train and measure all, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--jobs', type=int, default=1, help='networks at a time')
    parser.add_argument(
        '--search', nargs='*', choices=SETTINGS, help='these settings alone; all'
    )
    parser.add_argument(
        '--compare',
        nargs='+',
        choices=SETTINGS,
        help='with the other seeds, instead of the best setting',
    )
    args = parser.parse_args()
    check_output_folder(str(OUT.parent))
    rows()  # refuses a damaged file
    # The longest first.
    order = sorted(
        args.search or SETTINGS, key=lambda name: -epochs(Run(V, SEARCH_SEED, name))
    )
    with ThreadPoolExecutor(args.jobs) as jobs:
        try:
            for one in [one for name in order for one in search(name, jobs)]:
                one.result()
            best = write_page()
            if args.search is None:
                for name in args.compare or [best]:
                    compare(name, jobs)
                write_page()
        except BaseException:  # Ctrl-C, too: what waits shall not begin
            jobs.shutdown(wait=False, cancel_futures=True)
            raise


if __name__ == '__main__':
    run_tool(main)
