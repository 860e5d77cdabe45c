"""Does the region task improve region correspondence? Writes docs/regions.md.

Trains the demo with the view task alone and with both tasks, for several seeds, and
measures each teacher, and random weights, on the embedded photographs. A finished
training is not repeated; one that was stopped goes on.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from tool_runs import (
    CONFIG,
    ROOT,
    Done,
    code,
    fill_page,
    match,
    run,
    save_untrained,
    table,
    train,
)

from esvit_plugin.engine.cli import check_output_folder, run_tool

WORK_DIR = 'work_dirs/regions'
OUT = ROOT / 'docs' / 'regions.md'
# As the page says, like COPIES.
SEEDS = (0, 1, 2)
# Mirrored copies of each photograph.
COPIES = 3
NETWORKS = {
    'random': 'random weights',
    'view': 'view task alone (V)',
    'both': 'view and region task (V+R)',
}
VIEW_ALONE = ('model.region_neck=None', 'model.region_head=None')
MEASURES = {
    'accuracy': 'at the mirrored place, %',
    'pixel_error': 'distance from it, px',
    'knn': '20-NN, top-1, %',
}
Values = dict[str, float]


def measure(network: str, seed: int) -> tuple[Values, list[Done]]:
    """Train and measure one of the ``NETWORKS``; the measures and the commands."""
    folder = f'{WORK_DIR}/{network}_{seed}'
    if network == 'random':
        # The same backbone as before either training.
        config = f'{WORK_DIR}/both_{seed}/{Path(CONFIG).name}'
        checkpoint = f'{folder}/untrained.pth'
        first = save_untrained(config, checkpoint, seed)
    else:
        options = ['default_hooks.checkpoint.max_keep_ckpts=1']
        options += [f'randomness.seed={seed}']
        options += VIEW_ALONE if network == 'view' else ()
        first, checkpoint = train(folder, *options)
        config = f'{folder}/{Path(CONFIG).name}'
    runs, means = zip(
        *(match(config, checkpoint, folder, 0, '--seed', i) for i in range(COPIES)),
        strict=True,
    )
    knn = run('tools/knn.py', config, checkpoint, '--k', 20)
    values = {
        name: statistics.mean(mean[name] for mean in means)
        for name in ('accuracy', 'pixel_error')
    }
    values['knn'] = knn.number(r'k=20 +top-1 +([\d.]+)')
    return values, [first, *runs, knn]


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, then the values."""
    text = f'{statistics.mean(values):.1f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.1f}'
    return f'{text} ({", ".join(f"{value:.1f}" for value in values)})'


def summary(values: dict[str, list[Values]]) -> tuple[str, str]:
    """The table of all networks, and the list of what the region task changes."""
    rows = [
        [title, *(spread([one[name] for one in values[key]]) for name in MEASURES)]
        for key, title in NETWORKS.items()
    ]
    lines = []
    for name, title in MEASURES.items():
        pairs = zip(values['both'], values['view'], strict=True)
        changes = [both[name] - view[name] for both, view in pairs]
        lines.append(
            f'* {title}: V+R minus V is {spread(changes)}; V+R is higher for '
            f'{sum(change > 0 for change in changes)} of {len(changes)} seeds.'
        )
    return table(['', *MEASURES.values()], rows), '\n'.join(lines)


def main() -> None:
    """Train and measure all, and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    check_output_folder(str(OUT.parent))
    values: dict[str, list[Values]] = {}
    runs: dict[str, list[Done]] = {}
    # Random weights last: they are of the config that training has written.
    for network in ('both', 'view', 'random'):
        measured = [measure(network, seed) for seed in SEEDS]
        values[network] = [one for one, _ in measured]
        runs[network] = measured[0][1]
    networks, changes = summary(values)
    fill_page(
        ROOT / 'docs' / 'regions.md',
        OUT,
        __file__,
        commands=[code(*runs[key]) for key in NETWORKS],
        table=[networks],
        changes=[changes],
    )


if __name__ == '__main__':
    run_tool(main)
