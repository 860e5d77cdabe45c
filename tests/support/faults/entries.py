"""The ways for a checkpoint into a program."""

from dataclasses import dataclass

import cv2
import numpy as np

from support.faults import payloads
from support.faults.forks import start_tool
from support.faults.runs import CLASSIFIER, knn, write_config

NETWORK = ['CONFIG', 'CHECKPOINT']


@dataclass
class Entry:
    """A way for a checkpoint into a program.

    Attributes:
        script: The tool, or a script of this folder.
        args: Its arguments; capital words stand for files.
        out: How the file that it writes ends, if it does.
    """

    script: str
    args: list
    out: str = ''
    config: str = 'knn.py'


TOOLS = {
    'knn': Entry('knn.py', NETWORK),
    'extract_features': Entry(
        'extract_features.py',
        [*NETWORK, 'IMAGES', '-o', 'OUT', '--num-workers', '0', '--size', '32'],
        '.npz',
    ),
    'transfer': Entry(
        'transfer.py', [*NETWORK, '--datasets', 'TRANSFER', '-o', 'OUT'], '.json'
    ),
    'extract_backbone': Entry(
        'model_converters/extract_backbone.py', ['CHECKPOINT', 'OUT'], '.pth'
    ),
    'to_timm': Entry('model_converters/to_timm.py', [*NETWORK, 'OUT'], '.pth'),
    'esvit_to_mmpretrain': Entry(
        'model_converters/esvit_to_mmpretrain.py', ['CHECKPOINT', 'OUT']
    ),
    'attention_maps': Entry(
        'analysis_tools/attention_maps.py',
        [*NETWORK, 'IMAGES', '-o', 'FOLDER', '--size', '32'],
    ),
    'correspondence': Entry(
        'analysis_tools/correspondence.py',
        [*NETWORK, 'IMAGES', '-o', 'FOLDER', '--size', '32'],
    ),
    'test': Entry('test.py', NETWORK, config='classifier'),
    'resume': Entry(
        'train.py', ['CONFIG', '--work-dir', 'WORK', '--resume', 'CHECKPOINT']
    ),
    'load_from': Entry(
        'train.py',
        ['CONFIG', '--work-dir', 'WORK', '--cfg-options', 'load_from=CHECKPOINT'],
    ),
    'pretrained': Entry(
        'train.py', ['CONFIG', '--work-dir', 'WORK'], config='pretrained'
    ),
    'get_model': Entry('SCRIPT', [*NETWORK]),
    'mmengine': Entry('SCRIPT', ['CONFIG', 'CHECKPOINT', 'WORK']),
}


def start(name, checkpoint, folder, out=None, env=None):
    """Start a tool with a checkpoint."""
    entry = TOOLS[name]
    images = folder / 'images'
    if not images.exists():
        images.mkdir(parents=True)
        for number in range(4):
            image = np.random.default_rng(number).integers(256, size=(40, 40, 3))
            cv2.imwrite(str(images / f'{number}.png'), image.astype(np.uint8))
    configs = {
        'knn.py': lambda: write_config(folder / 'knn.py', custom_hooks=[knn()]),
        'classifier': lambda: CLASSIFIER,
        'pretrained': lambda: pretrained(folder, checkpoint),
    }
    words = dict(
        CONFIG=configs[entry.config](),
        CHECKPOINT=checkpoint,
        IMAGES=images,
        OUT=out or folder / f'result_{name}{entry.out or ".pth"}',
        FOLDER=folder / f'pictures_{name}',
        WORK=folder / f'work_{name}',
    )
    if 'TRANSFER' in entry.args:
        words['TRANSFER'] = transfer_set(folder)
    args = []
    for arg in entry.args:
        for word, value in words.items():
            if arg == word or arg.endswith(f'={word}'):
                arg = arg.replace(word, str(value))
        args.append(arg)
    script = entry.script
    if script == 'SCRIPT':
        script = {'get_model': payloads.GET_MODEL, 'mmengine': payloads.RUNNER}[name]
    return start_tool(script, *args, folder=folder, env=env)


def pretrained(folder, checkpoint):
    init = dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.')
    return write_config(
        folder / 'pretrained.py', CLASSIFIER, model=dict(backbone=dict(init_cfg=init))
    )


def transfer_set(folder):
    common = dict(type='TinyImages', pipeline=[dict(type='PackInputs')])
    lines = [
        "custom_imports = dict(imports=['support.faults.parts'])",
        "name = 'Tiny'\nnum_classes = 3\nmetric = 'accuracy'",
        'loader = dict(batch_size=4, num_workers=0)',
        *(f'{split} = {common!r}' for split in ('train', 'val', 'test')),
    ]
    path = folder / 'set.py'
    path.write_text('\n'.join(lines))
    return path
