"""Does the region task improve region correspondence? Writes docs/regions.md.

    python tools/misc/regions_experiment.py
    python tools/misc/regions_experiment.py --jobs 12     # on a GPU, or many cores

Trains a small Swin with the view task alone (V), with both tasks (V+R), and with the
region task from half of the iterations on: first in several settings of one seed, then
in the best of them with other seeds. What is finished is not repeated, and a training
that was stopped goes on.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tool_runs import ROOT, fill_page, read_json, run, seconds, table, wrapped

from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.engine.configs import load_config

CONFIG = 'configs/demo/esvit_swin_regions.py'
WORK_DIR = 'work_dirs/regions'
# The words of the page, and the page.
PAGE = Path(__file__).with_suffix('.md')
OUT = ROOT / 'docs' / 'regions.md'
# As the page says: settings are chosen on the first, the others were named before.
SEARCH_SEED, SEEDS = 0, (1, 2, 3, 4, 5)
V, BOTH, TWO, RANDOM = 'view', 'both', 'two_phase', 'random'
NETWORKS = {
    RANDOM: 'random weights',
    V: 'V',
    BOTH: 'V+R',
    TWO: 'V, then V+R',
}
VIEW_ALONE = ('model.region_neck=None', 'model.region_head=None')
VIEWS = 'train_dataloader.dataset.pipeline.0.views'
# What each setting changes, and how.
SETTINGS: dict[str, tuple[str, ...]] = {
    'as in the config': (),
    '24 epochs': ('train_cfg.max_epochs=24',),
    '14 x 14 regions': ('model.backbone.patch_size=2',),
    'K = 256': ('model.neck.out_channels=256', 'model.region_neck.out_channels=256'),
    'K = 4096': ('model.neck.out_channels=4096', 'model.region_neck.out_channels=4096'),
    'teacher temperature 0.07': ('custom_hooks.1.teacher_temp=0.07',),
    'teacher momentum 0.99': (
        'custom_hooks.0.momentum=0.99',
        'custom_hooks.0.start_share=None',
    ),
    'rate 3e-4': ('optim_wrapper.optimizer.lr=3e-4',),
    'decay 0.04 throughout': ('param_scheduler.2.eta_min_ratio=1.0',),
    'windows of 4 x 4': ('model.backbone.window_size=4',),
    'stochastic depth 0.1': ('model.backbone.drop_path_rate=0.1',),
    'large views of 70 % and more': (
        f'{VIEWS}.0.scale=(0.7,1.0)',
        f'{VIEWS}.1.scale=(0.7,1.0)',
    ),
    '8 small views': (f'{VIEWS}.2.num_views=8',),
    'brightness and contrast jittered by 0.8': tuple(
        f'{VIEWS}.{group}.augment.color_jitter=(0.8,0.8,0.2,0.1)' for group in range(3)
    ),
}
# The measure that decides: no brightness to match by, no textures.
FAIR = 'relit'
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
    def folder(self) -> str:
        """Its work folder, seen from the root."""
        letters = (c if c.isalnum() else '_' for c in self.setting.lower())
        return f'{WORK_DIR}/{"".join(letters)}/{self.network}_{self.seed}'

    @property
    def results(self) -> str:
        """The file of what was measured."""
        return f'{self.folder}/results.json'

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


def train(one: Run) -> None:
    """Train a network, or leave a finished one; its first command is kept."""
    if (ROOT / one.results).is_file():
        return
    words = one.command()
    note = ROOT / one.folder / 'command.txt'
    if not note.is_file():
        note.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(note) as part:
            Path(part).write_text(wrapped(['python', *words]))
    run(*words)


def equal_time(one: Run) -> int:
    """The epoch until which a network has trained as long as V has in all."""
    total = epochs(one)
    first = one._replace(network=V)
    fast, slow = (seconds(run.folder) for run in (first, one._replace(network=BOTH)))
    # The second phase costs as much a step as both tasks do.
    before = total // 2 if one.network == TWO else 0
    return (
        max(1, before + int((total - before) * fast / slow)) if slow > fast else total
    )


def measure(one: Run, ends: Sequence[int]) -> None:
    """Measure a network after these epochs; random weights are those of V+R before."""
    if (ROOT / one.results).is_file():
        return
    folder = one.folder
    both = one._replace(network=BOTH)
    random = one.network == RANDOM
    (ROOT / folder).mkdir(parents=True, exist_ok=True)
    words = [both.config] if random else [one.config, *map(one.checkpoint, ends)]
    out = f'{folder}/measures.json'
    done = run('tools/misc/regions_measures.py', *words, '--seed', one.seed, '-o', out)
    record = dict(command=done.command, epochs=list(ends), measures=read_json(out))
    if not random:
        note = ROOT / folder / 'command.txt'
        record.update(training=note.read_text(), seconds=seconds(folder))
    with atomic_file(ROOT / one.results) as part:
        Path(part).write_text(json.dumps(record, indent=1))


def search(setting: str, jobs: ThreadPoolExecutor) -> list[Future]:
    """Begin to train and measure V and V+R of one setting, and random weights."""

    def view() -> None:
        one = Run(V, SEARCH_SEED, setting)
        train(one)
        measure(one, [epochs(one)])

    def both() -> None:
        one = Run(BOTH, SEARCH_SEED, setting)
        train(one)
        measure(one, [epochs(one)])
        measure(one._replace(network=RANDOM), [0])

    return [jobs.submit(view), jobs.submit(both)]


def compare(setting: str, jobs: ThreadPoolExecutor) -> None:
    """Train all networks with all seeds; measure at the end, and in V's time."""

    def train_all(*networks: str) -> None:
        list(jobs.map(train, [Run(n, s, setting) for s in SEEDS for n in networks]))

    def measure_one(one: Run) -> None:
        ends = [0] if one.network == RANDOM else [equal_time(one), epochs(one)]
        measure(one, sorted(set(ends)))

    train_all(BOTH, V)
    train_all(TWO)
    runs = [Run(n, s, setting) for n in NETWORKS for s in SEEDS]
    list(jobs.map(measure_one, runs))


def values_of(one: Run, at_end: bool = True) -> Values:
    """What was measured at the end, or after as long as V has trained."""
    found: list[Values] = read_json(one.results)['measures']
    return found[-1 if at_end else 0]


def lead(setting: str) -> float:
    """By how much V+R is above both V and random weights in the fair measure."""
    view, both, random = (
        values_of(Run(name, SEARCH_SEED, setting))[FAIR] for name in (V, BOTH, RANDOM)
    )
    return both - max(view, random)


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
    """All settings of the first seed."""
    rows = [
        [f'{setting}: {title}', *cells([values_of(Run(name, SEARCH_SEED, setting))])]
        for setting in SETTINGS
        for name, title in NETWORKS.items()
        if name != TWO
    ]
    return table(['', *MEASURES.values()], rows)


def final_tables(setting: str) -> tuple[str, str]:
    """The networks of the best setting, and what differs with the seed equal."""
    rows, changes = [], []
    values = {
        (name, at_end): [values_of(Run(name, seed, setting), at_end) for seed in SEEDS]
        for name in NETWORKS
        for at_end in (True, False)
    }
    for name, title in NETWORKS.items():
        rows.append([title, *cells(values[name, True])])
    pairs = [(V, RANDOM, True), (BOTH, V, True), (TWO, V, True)]
    for first, second, at_end in [*pairs, (BOTH, V, False), (TWO, V, False)]:
        differences = [
            {key: mine[key] - theirs[key] for key in MEASURES}
            for mine, theirs in zip(
                values[first, at_end], values[second, True], strict=True
            )
        ]
        when = '' if at_end else ', in equal time'
        title = f'{NETWORKS[first]} minus {NETWORKS[second]}{when}'
        changes.append([title, *cells(differences)])
    header = ['', *MEASURES.values()]
    return table(header, rows), table(header, changes)


def commands(setting: str) -> str:
    """What was run for the first of the seeds, in Markdown."""
    lines = ['```bash']
    for network in NETWORKS:
        one = Run(network, SEEDS[0], setting)
        record = read_json(one.results)
        lines += [record[key] for key in ('training', 'command') if key in record]
    return '\n'.join([*lines, '```'])


def main() -> None:
    """Train and measure all, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--jobs', type=int, default=1, help='networks at a time')
    parser.add_argument('--search', action='store_true', help='the first part alone')
    args = parser.parse_args()
    check_output_folder(str(OUT.parent))
    with ThreadPoolExecutor(args.jobs) as jobs:
        # The longest first.
        order = sorted(SETTINGS, key=lambda name: -epochs(Run(V, SEARCH_SEED, name)))
        for one in [one for name in order for one in search(name, jobs)]:
            one.result()
        best = max(SETTINGS, key=lead)
        print(f'{search_table()}\n\nBest setting: {best}, by {lead(best):.1f} points')
        if args.search:
            return
        compare(best, jobs)
    tables = [search_table(), *final_tables(best)]
    fill_page(PAGE, OUT, __file__, table=tables, commands=[commands(best)])


if __name__ == '__main__':
    run_tool(main)
