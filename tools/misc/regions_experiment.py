"""Does the region task improve region correspondence? Writes docs/regions.md.

Trains the demo with the view task alone and with both tasks, for several seeds, and
measures each teacher, and random weights, on the embedded photographs. Runs that have
been measured are not repeated; one that was stopped goes on.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from tool_runs import (
    CONFIG,
    ROOT,
    from_root,
    own_command,
    run,
    save_untrained,
    table,
    train,
    versions,
    write_text,
)

from esvit_plugin.datasets import PHOTO_NAMES
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.evaluation.view_pairs import JITTER_PROB

NETWORKS = {
    'random': 'random weights',
    'view': 'view task alone (V)',
    'both': 'view and region task (V+R)',
}
VIEW_ALONE = ('model.region_neck=None', 'model.region_head=None')
# Whole windows in every stage of the demo's backbone.
SIZE = 256
MEASURES = {
    'accuracy': 'at the mirrored place, %',
    'pixel_error': 'distance from it, px',
    'knn': '20-NN, top-1, %',
}
LIMITS = """
## How far this goes

The measure is the paper's, on few pictures and a network that is not:

* In training a view of 64 px has 2 x 2 regions, one of 32 px a single one. So the
  region task has four regions to choose from, where the paper's Swin-T has 49. What is
  measured is a choice among 64.
* The windows are of 4 x 4 positions, of 2 x 2 in the last stage, and none is shifted: a
  region sees one square of 64 x 64 px, and nothing beside it. At 256 px these squares
  tile the picture, and mirrored regions see mirrored squares. At 224 px, the paper's
  size, they would not: zeros would fill up the squares at the right of both.
"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        default=str(ROOT / 'work_dirs' / 'regions'),
        help='folder of all runs; default work_dirs/regions',
    )
    parser.add_argument(
        '-o',
        '--out',
        default=str(ROOT / 'docs' / 'regions.md'),
        help='page to write; default docs/regions.md',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument(
        '--size',
        type=int,
        default=SIZE,
        help=f'side of the photographs; default {SIZE}',
    )
    parser.add_argument(
        '--copies', type=int, default=3, help='of each photograph; default 3'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='settings of all trainings'
    )
    args = parser.parse_args()
    if args.copies < 1:
        parser.error(f'--copies must be >= 1: {args.copies}')
    if not args.out.endswith('.md'):
        parser.error(f'--out must be a .md file: {args.out}')
    if len(set(args.seeds)) < len(args.seeds):
        parser.error(f'--seeds: each only once, got {args.seeds}')
    return args


def measure(network: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one network, or read what was found before.

    Args:
        network: A key of ``NETWORKS``.
        seed: Of the training and the first weights.
        args: The command line.

    Returns:
        The measures and the commands.

    Raises:
        ValueError: If the folder has the result of other settings.
    """
    folder = f'{from_root(args.work_dir)}/{network}_{seed}'
    path = ROOT / folder / 'result.json'
    # Without region parts last: they take the place of settings of these.
    options = [*args.cfg_options, f'randomness.seed={seed}']
    options += VIEW_ALONE if network == 'view' else ()
    settings = dict(
        options=options, size=args.size, copies=args.copies, jitter_prob=JITTER_PROB
    )
    if path.is_file():
        found = json.loads(path.read_text())
        if found['settings'] != settings:
            raise ValueError(
                f'{path} is of {found["settings"]}, not of {settings}: remove the '
                'folder, or name another --work-dir.'
            )
        print(f'{folder} has been measured.')
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    if network == 'random':
        # The same backbone as before either training.
        config = f'{from_root(args.work_dir)}/both_{seed}/{Path(CONFIG).name}'
        checkpoint = f'{folder}/untrained.pth'
        first = save_untrained(config, checkpoint, seed)
    else:
        last_only = 'default_hooks.checkpoint.max_keep_ckpts=1'
        first, checkpoint = train(folder, [last_only, *options])
        config = f'{folder}/{Path(CONFIG).name}'
    runs, means = [first], []
    for copies in range(args.copies):
        done = run(
            'tools/analysis_tools/correspondence.py',
            *(config, checkpoint, *PHOTO_NAMES, '--size', args.size),
            *('--seed', copies, '--num-pictures', 0, '-o', folder),
        )
        content = json.loads((ROOT / folder / 'correspondence.json').read_text())
        runs.append(done)
        means.append(content['mean'])
    knn = run('tools/knn.py', config, checkpoint, '--k', 20)
    found = dict(
        settings=settings,
        accuracy=statistics.mean(mean['accuracy'] for mean in means),
        pixel_error=statistics.mean(mean['pixel_error'] for mean in means),
        knn=knn.number(r'k=20 +top-1 +([\d.]+)'),
        commands=[done.command for done in (*runs, knn)],
    )
    write_text(path, json.dumps(found, indent=1))
    return found


def spread(values: list[float]) -> str:
    """Mean and standard deviation, then the values."""
    text = f'{statistics.mean(values):.1f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.1f}'
    return f'{text} ({", ".join(f"{value:.1f}" for value in values)})'


def summary(results: dict[str, list[dict[str, Any]]]) -> str:
    """What the region task changes, in a sentence for each measure."""
    lines = []
    for name, title in MEASURES.items():
        changes = [
            both[name] - view[name]
            for both, view in zip(results['both'], results['view'], strict=True)
        ]
        higher = sum(change > 0 for change in changes)
        lines.append(
            f'* {title}: V+R minus V is {spread(changes)}; V+R is higher for '
            f'{higher} of {len(changes)} seeds.'
        )
    return '\n'.join(lines)


def page(results: dict[str, list[dict[str, Any]]], args: argparse.Namespace) -> str:
    """The text of docs/regions.md."""
    rows = [
        [title, *(spread([r[name] for r in results[key]]) for name in MEASURES)]
        for key, title in NETWORKS.items()
    ]
    blocks = '\n\n'.join(
        f'{title[0].upper()}{title[1:]}, seed {args.seeds[0]}:\n\n'
        + '\n'.join(['```bash', *results[key][0]['commands'], '```'])
        for key, title in NETWORKS.items()
    )
    of_demo = args.size == SIZE and not args.cfg_options
    return f"""# Region correspondence with and without the region task

Written by `{own_command()}`, with {versions()}.

The paper's claim is that the region task raises the share of matches at the right
place. This is what a small training shows of it, as found.

The teacher sees a photograph, and its mirrored, jittered and grey copy. Of the 10 most
similar matches between their regions those at the mirrored place count, and the mean
distance from it. Photographs: {len(PHOTO_NAMES)}, of {args.size} px; copies of each:
{args.copies}. Mean ± standard deviation over the trainings, and the values for
the seeds {', '.join(map(str, args.seeds))}:

{table(['', *MEASURES.values()], rows)}

{summary(results)}
{LIMITS if of_demo else ''}
## Commands

In the root of the repository; the other seeds differ in their number alone. The values
of the copies, from `--seed 0` on, are averaged.

{blocks}
"""


def main() -> None:
    """Train and measure all, and write the page."""
    args = parse_args()
    check_output_folder(str(Path(args.out).parent))
    # Random weights last: they are of the config that training has written.
    results = {
        network: [measure(network, seed, args) for seed in args.seeds]
        for network in ('both', 'view', 'random')
    }
    text = page(results, args)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    print(f'\n{text}\nWritten into {out}')


if __name__ == '__main__':
    run_tool(main)
