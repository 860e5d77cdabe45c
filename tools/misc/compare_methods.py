"""Train every method on the embedded photographs, and write docs/methods/compare.md.

A finished training is not repeated; one that was stopped goes on.
"""

import argparse
import json
import os
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from tool_runs import (
    ROOT,
    Done,
    code,
    fill_page,
    read_json,
    run,
    save_untrained,
    seconds,
    table,
)

from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import check_output_folder, run_tool

WORK_DIR = 'work_dirs/methods'
# The words of the page, and the page.
PAGE = Path(__file__).with_suffix('.md')
OUT = ROOT / 'docs' / 'methods' / 'compare.md'
SET = 'configs/demo/transfer_photos.py'
OPTIONS = ['default_hooks.checkpoint.max_keep_ckpts=1']


class Method(NamedTuple):
    """A row of the table.

    Args:
        config: Name of its config in configs/demo.
        options: ``--cfg-options`` that make it of the config.
    """

    config: str
    options: tuple[str, ...] = ()


METHODS = {
    'EsViT, L_V': Method(
        'esvit_swin_photos', ('model.region_neck=None', 'model.region_head=None')
    ),
    'EsViT, L_V + L_R': Method('esvit_swin_photos'),
    'DINO': Method('dino_photos'),
    'MoCo v3': Method('mocov3_photos'),
    'MAE-lite': Method('mae_photos'),
    'D-MAE': Method('dmae_photos'),
}
COLUMNS = {
    'random': '20-NN untrained, %',
    'knn': '20-NN, %',
    'linear': 'linear, %',
    'seconds': 'training, s',
    'memory': 'memory, MiB',
}


def folder_of(name: str) -> str:
    """The work folder of a method."""
    letters = (c if c.isalnum() else '_' for c in name.lower())
    return f'{WORK_DIR}/{"".join(letters)}'


def train(name: str) -> tuple[Done, str]:
    """Train a method, or leave a finished training; the command and the checkpoint."""
    method, folder = METHODS[name], folder_of(name)
    options = [*OPTIONS, *method.options]
    if name == 'D-MAE':
        teacher = find_latest_checkpoint(ROOT / folder_of('MAE-lite'))
        teacher = os.path.relpath(teacher, ROOT)
        options.append(f'model.target_generator.checkpoint={teacher}')
    done = run(
        *('tools/train.py', f'configs/demo/{method.config}.py'),
        *('--work-dir', folder, '--resume', '--cfg-options', *options),
    )
    notes = ROOT / folder / 'memory.json'
    if not notes.is_file():
        with atomic_file(notes) as part:
            Path(part).write_text(json.dumps(done.peak))
    checkpoint = find_latest_checkpoint(ROOT / folder)
    return done, os.path.relpath(checkpoint, ROOT)


def measure(name: str) -> tuple[dict[str, float], list[Done]]:
    """Train and evaluate a method; the columns of the table, and the commands."""
    folder = folder_of(name)
    trained, checkpoint = train(name)
    config = f'{folder}/{METHODS[name].config}.py'
    knn = run('tools/knn.py', config, checkpoint, '--k', 20)
    first = f'{folder}/untrained/untrained.pth'
    untrained = save_untrained(config, first)
    random = run('tools/knn.py', config, first, '--k', 20)
    out = f'{folder}/transfer.json'
    linear = run(
        *('tools/transfer.py', config, checkpoint),
        *('--datasets', SET, '--force', '-o', out),
    )
    top1 = r'k=20 +top-1 +([\d.]+)'
    values = dict(
        random=random.number(top1),
        knn=knn.number(top1),
        linear=next(iter(read_json(out)['results'].values()))['value'],
        seconds=seconds(folder),
        memory=read_json(f'{folder}/memory.json'),
    )
    return values, [trained, knn, untrained, random, linear]


def main() -> None:
    """Train and measure all, and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    check_output_folder(str(OUT.parent))
    measured = {name: measure(name) for name in METHODS}
    rows = []
    for name, (values, _) in measured.items():
        config = f'{folder_of(name)}/{METHODS[name].config}.py'
        cfg = Config.fromfile(ROOT / config)
        epochs = str(cfg.train_cfg.max_epochs)
        digits = [1, 1, 1, 0, 0]
        cells = [f'{values[key]:.{n}f}' for key, n in zip(COLUMNS, digits, strict=True)]
        rows.append([name, epochs, *cells])
    fill_page(
        PAGE,
        OUT,
        __file__,
        commands=[code(*runs) for _, runs in measured.values()],
        table=[table(['', 'epochs', *COLUMNS.values()], rows)],
    )


if __name__ == '__main__':
    run_tool(main)
