"""Evaluate the demo's teacher with every tool, and write docs/demo.md.

The demo is trained first where the work folder has no finished training. The same is
done with random weights, to compare. Nothing is written into docs/ before every step
has succeeded.
"""

import argparse

from PIL import Image
from tool_runs import (
    CONFIG,
    ROOT,
    SIZE,
    Done,
    code,
    fill_page,
    match,
    read_json,
    run,
    save_small,
    save_untrained,
    table,
    train,
)

from esvit_plugin.datasets import BundledPhotos
from esvit_plugin.engine.cli import check_output_folder, run_tool
from esvit_plugin.engine.configs import load_config
from esvit_plugin.visualization.figures import check_matplotlib

OUT = ROOT / 'docs'
# The quickstart's, whose training is taken where it has finished.
WORK_DIR = 'work_dirs/esvit_swin_photos'
PROBE = 'configs/demo/linear_swin_photos.py'
SETS = ('configs/demo/transfer_photos.py', 'configs/demo/transfer_digits.py')
PHOTO = 'astronaut'
# What follows their names where the tools write them.
PICTURES = {
    'learning_curves': '',
    'correspondence': f'_0_{PHOTO}',
    'attention': f'_0_{PHOTO}',
    'embedding': '',
}


def evaluate(checkpoint: str, folder: str) -> tuple[dict[str, float], list[Done]]:
    """The value of each measure of a checkpoint, and the command of each tool."""
    knn = run('tools/knn.py', CONFIG, checkpoint, '--k', 10, 20)
    probe = run(
        *('tools/train.py', PROBE, '--work-dir', f'{folder}/probe', '--cfg-options'),
        f'model.backbone.init_cfg.checkpoint={checkpoint}',
        'default_hooks.checkpoint.max_keep_ckpts=1',
    )
    out = f'{folder}/transfer.json'
    transfer = run(
        *('tools/transfer.py', CONFIG, checkpoint),
        *('--datasets', *SETS, '--force', '-o', out),
    )
    matches, mean = match(CONFIG, checkpoint, folder, 1)
    values = {
        '10-NN, top-1, %': knn.number(r'k=10 +top-1 +([\d.]+)'),
        '20-NN, top-1, %': knn.number(r'k=20 +top-1 +([\d.]+)'),
        'linear probe, top-1, %': probe.number(r'accuracy/top1: ([\d.]+)'),
    }
    for path, result in read_json(out)['results'].items():
        title = f'{load_config(str(ROOT / path)).name}, {result["metric"]}, %'
        values[f'logistic regression, {title}'] = result['value']
    values['matches at the mirrored place, %'] = mean['accuracy']
    values['distance of matches from it, px'] = mean['pixel_error']
    return values, [knn, probe, transfer, matches]


def embed(checkpoint: str, folder: str) -> list[Done]:
    """Draw the test crops in the plane, from files, as the tools read them."""
    crops, features = f'{folder}/crops', f'{folder}/features.npz'
    # 73 px, of which the tool takes the central 64: so none is scaled.
    for record in BundledPhotos(split='test', crop_size=73).load_data_list():
        photo, number = record['img_path'].split('#')
        path = ROOT / crops / photo / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(record['img'][..., ::-1]).save(path)
    extract = ('tools/extract_features.py', CONFIG, checkpoint, crops)
    draw = ('tools/analysis_tools/embedding.py', features)
    return [
        run(*extract, '--keys', 'pooled', '-o', features),
        run(*draw, '-o', f'{folder}/embedding.png'),
    ]


def main() -> None:
    """Train, evaluate, draw, and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    check_output_folder(str(OUT))
    check_matplotlib()
    folder = f'{WORK_DIR}/docs'
    trained, checkpoint = train(WORK_DIR)
    untrained = f'{folder}/random/untrained.pth'
    random = save_untrained(CONFIG, untrained)
    before, _ = evaluate(untrained, f'{folder}/random')
    after, tools = evaluate(checkpoint, folder)
    attention = run(
        'tools/analysis_tools/attention_maps.py',
        *(CONFIG, checkpoint, PHOTO, '--size', SIZE, '-o', folder),
    )
    curves = run(
        'tools/analysis_tools/learning_curves.py',
        *(WORK_DIR, '-o', f'{folder}/learning_curves.png'),
        *('--baselines', f'random weights={before["20-NN, top-1, %"]:.1f}'),
    )
    rows = [[name, f'{before[name]:.1f}', f'{after[name]:.1f}'] for name in before]
    crops = embed(checkpoint, folder)
    one_each = [trained, curves, *tools, attention]
    commands = [*map(code, one_each), code(*crops), code(random)]
    OUT.mkdir(parents=True, exist_ok=True)
    for name, suffix in PICTURES.items():
        save_small(ROOT / folder / f'{name}{suffix}.png', OUT / f'{name}.png')
    fill_page(
        ROOT / 'docs' / 'demo.md',
        OUT / 'demo.md',
        __file__,
        commands=commands,
        table=[table(['', 'random weights', 'teacher'], rows)],
    )


if __name__ == '__main__':
    run_tool(main)
