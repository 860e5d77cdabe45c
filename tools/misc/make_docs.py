"""Evaluate the demo's teacher with every tool, and write docs/demo.md.

The demo is trained first where the work folder has no finished training. The same is
done with random weights, to compare. Nothing is written into docs/ before every step
has succeeded.
"""

import argparse
import json
import os
from pathlib import Path

from PIL import Image
from tool_runs import (
    CONFIG,
    ROOT,
    Done,
    code,
    from_root,
    own_command,
    run,
    save_small,
    save_untrained,
    table,
    train,
    versions,
    write_text,
)

from esvit_plugin.datasets import PHOTO_NAMES, BundledPhotos
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.engine.configs import load_config
from esvit_plugin.visualization.figures import check_matplotlib

PROBE = 'configs/demo/linear_swin_photos.py'
SETS = ('configs/demo/transfer_photos.py', 'configs/demo/transfer_digits.py')
CURVES = ('loss_view', 'loss_region', 'knn/top1_k20', 'feature_spread')
# Whole windows in every stage of the demo's backbone, which 224 px does not give.
SIZE = 256
PHOTO = 'astronaut'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        default=str(ROOT / 'work_dirs' / 'esvit_swin_photos'),
        help="of the demo's training; default work_dirs/esvit_swin_photos, which is "
        "the quickstart's",
    )
    parser.add_argument(
        '-o', '--out', default=str(ROOT / 'docs'), help='folder to write; default docs'
    )
    parser.add_argument(
        '--datasets', nargs='+', default=SETS, help='configs of the transfer table'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='settings of the training'
    )
    parser.add_argument(
        '--probe-options', nargs='+', default=[], help='settings of the linear probe'
    )
    args = parser.parse_args()
    if os.path.isfile(args.out):
        parser.error(f'--out must be a folder, not a file: {args.out}')
    return args


def evaluate(
    checkpoint: str, folder: str, args: argparse.Namespace
) -> tuple[dict[str, float], dict[str, Done]]:
    """Measure one network with the tools.

    Args:
        checkpoint: Its checkpoint.
        folder: Where results are written.
        args: The command line.

    Returns:
        The value of each measure, and the command of each tool.
    """
    knn = run('tools/knn.py', CONFIG, checkpoint, '--k', 10, 20)
    probe = run(
        'tools/train.py',
        PROBE,
        '--work-dir',
        f'{folder}/probe',
        '--cfg-options',
        f'model.backbone.init_cfg.checkpoint={checkpoint}',
        'default_hooks.checkpoint.max_keep_ckpts=1',
        *args.probe_options,
    )
    transfer = run(
        'tools/transfer.py',
        CONFIG,
        checkpoint,
        '--datasets',
        *map(from_root, args.datasets),
        '--force',
        '-o',
        f'{folder}/transfer.json',
    )
    matches = run(
        'tools/analysis_tools/correspondence.py',
        CONFIG,
        checkpoint,
        *PHOTO_NAMES,
        '--size',
        SIZE,
        '--num-pictures',
        1,
        '-o',
        folder,
    )
    values = {
        '10-NN, top-1, %': knn.number(r'k=10 +top-1 +([\d.]+)'),
        '20-NN, top-1, %': knn.number(r'k=20 +top-1 +([\d.]+)'),
        'linear probe, top-1, %': probe.number(r'accuracy/top1: ([\d.]+)'),
    }
    results = json.loads((ROOT / folder / 'transfer.json').read_text())['results']
    for path in map(from_root, args.datasets):
        name = load_config(str(ROOT / path)).name
        found = results[path]
        values[f'logistic regression, {name}, {found["metric"]}, %'] = found['value']
    mean = json.loads((ROOT / folder / 'correspondence.json').read_text())['mean']
    values['matches at the mirrored place, %'] = mean['accuracy']
    values['distance of matches from it, px'] = mean['pixel_error']
    commands = dict(knn=knn, probe=probe, transfer=transfer, matches=matches)
    return values, commands


def embed(checkpoint: str, folder: str) -> list[Done]:
    """Draw the test crops in the plane, from files, as the tools read them."""
    crops = f'{folder}/crops'
    # 73 px, of which the tool takes the central 64: so none is scaled.
    for record in BundledPhotos(split='test', crop_size=73).load_data_list():
        photo, number = record['img_path'].split('#')
        path = ROOT / crops / photo / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(record['img'][..., ::-1]).save(path)
    features = f'{folder}/features.npz'
    return [
        run(
            'tools/extract_features.py',
            *(CONFIG, checkpoint, crops),
            *('--keys', 'pooled', '-o', features),
        ),
        run(
            'tools/analysis_tools/embedding.py',
            *(features, '-o', f'{folder}/embedding.png'),
        ),
    ]


def page(values: dict[str, dict[str, float]], parts: dict[str, list[Done]]) -> str:
    """The text of docs/demo.md.

    Args:
        values: For each network the value of each measure.
        parts: The commands of each part.
    """
    networks = list(values)
    rows = [
        [measure, *(f'{values[network][measure]:.1f}' for network in networks)]
        for measure in values[networks[0]]
    ]
    shown = {name: code(*runs) for name, runs in parts.items()}
    return f"""# What the demo's teacher learnt

Written by `{own_command()}`, with {versions()}.
One training, on crops of the left parts of 16 photographs; crops of the right parts are
classified. Random weights went through the same commands.

{table(['', *networks], rows)}

## Training

{shown['training']}

![Losses, k-NN accuracy and spread of the features](learning_curves.png)

{shown['curves']}

## k-NN

{shown['knn']}

## Linear probe

{shown['probe']}

## Transfer

Logistic regression on frozen features. The digits, of 8 x 8 px, are of no photograph.

{shown['transfer']}

## Correspondence

Of the 16 photographs and their mirrored, jittered and grey copies. What the region task
changes is in [regions.md](regions.md).

![Matched regions of a photograph and its mirrored grey copy](correspondence.png)

{shown['matches']}

## Attention

Of the last block's heads, whose windows are of 2 x 2 regions in so small a network.

![Where the heads look from five positions](attention.png)

{shown['attention']}

## Embedding

t-SNE of the test crops, coloured by photograph.

![Test crops in the plane](embedding.png)

{shown['embedding']}

## Random weights

The other column, by the same commands as above on this checkpoint.

{shown['random']}
"""


def main() -> None:
    """Train, evaluate, draw, and write the page."""
    args = parse_args()
    check_output_folder(args.out)
    check_matplotlib()
    for path in args.datasets:
        load_config(str(ROOT / from_root(path)))
    work_dir = from_root(args.work_dir)
    trained, checkpoint = train(work_dir, args.cfg_options)
    folder = f'{work_dir}/docs'
    (ROOT / folder / 'random').mkdir(parents=True, exist_ok=True)
    untrained = f'{folder}/random/untrained.pth'
    made = save_untrained(CONFIG, untrained)
    random = evaluate(untrained, f'{folder}/random', args)
    teacher = evaluate(checkpoint, folder, args)
    attention = run(
        'tools/analysis_tools/attention_maps.py',
        *(CONFIG, checkpoint, PHOTO, '--size', SIZE, '-o', folder),
    )
    curves = run(
        'tools/analysis_tools/learning_curves.py',
        *(work_dir, '--keys', *CURVES, '-o', f'{folder}/learning_curves.png'),
    )
    parts = {name: [done] for name, done in teacher[1].items()}
    parts |= dict(
        training=[trained],
        curves=[curves],
        attention=[attention],
        embedding=embed(checkpoint, folder),
        random=[made],
    )
    text = page({'random weights': random[0], 'teacher': teacher[0]}, parts)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, source in {
        'learning_curves': 'learning_curves',
        'correspondence': f'correspondence_0_{PHOTO}',
        'attention': f'attention_0_{PHOTO}',
        'embedding': 'embedding',
    }.items():
        save_small(ROOT / folder / f'{source}.png', out / f'{name}.png')
    write_text(out / 'demo.md', text)
    print(f'\nWritten into {out}')


if __name__ == '__main__':
    run_tool(main)
