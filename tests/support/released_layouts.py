"""Small checkpoints with the names of the authors' program, derived from its layouts.

``tests/data/released_layouts.json`` is ``derive`` of ``checkpoint_layouts.json``, which
lies beside the repository: python tests/support/released_layouts.py ../shared/golden
writes it. It has the first blocks of every stage, narrower.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

DATA = Path(__file__).parents[1] / 'data' / 'released_layouts.json'
PROTOTYPES = 12
Layout = dict[str, tuple[tuple[int, ...], str]]


class Rule(NamedTuple):
    """How to make a network smaller.

    Attributes:
        source: Its name in ``checkpoint_layouts.json``.
        block: Pattern of a block's names, with the stage and the number as groups.
        keep: Number of blocks that stay in each stage.
        divisor: What widths are divided by.
        depths: Blocks by stage to which ``layout`` repeats the last one.
    """

    source: str
    block: str
    keep: int = 1
    divisor: int = 1
    depths: tuple[int, ...] = ()


RULES = {
    'swin': Rule('swin_t_w7', r'(layers\.\d+)\.blocks\.(\d+)\.', divisor=8),
    # Embedding, attention and feed-forward network
    'vil': Rule('vil_t', r'(layer\d+)\.(\d+)\.', keep=3, divisor=8),
    'cvt': Rule('cvt_t', r'(stage\d+\.1)\.layers\.(\d+)\.', depths=(2, 2, 6, 2)),
    'deit': Rule('deit_s', r'(blocks)\.(\d+)\.', keep=2, divisor=2),
    # Only a stage's first block has a shortcut of its own.
    'resnet50': Rule('resnet50', r'(layer\d+)\.(\d+)\.', keep=2, depths=(3, 4, 6, 3)),
}


def derive(full: dict[str, dict]) -> dict[str, dict]:
    """Smaller networks from ``student`` of ``checkpoint_layouts.json``."""
    return {
        name: {
            tensor: [_shrink(tensor, shape, rule.divisor), kind]
            for tensor, (shape, kind) in full[rule.source].items()
            if not (found := re.search(rule.block, tensor)) or int(found[2]) < rule.keep
        }
        for name, rule in RULES.items()
    }


def _shrink(tensor: str, shape: list[int], divisor: int) -> list[int]:
    if '.head' in tensor:
        narrow = [size // 8 for size in shape]
        if tensor.endswith('mlp.0.weight'):
            narrow[1] = shape[1] // divisor
        elif '.last_layer.' in tensor:
            narrow = [PROTOTYPES, shape[1] // 8 or 1]
        return narrow
    # Not kernels, windows, heads and colours
    return [size if size < 64 or size % 32 else size // divisor for size in shape]


def layout(name: str) -> Layout:
    """Names, shapes and types of the network ``name`` of ``RULES``."""
    stored = json.loads(DATA.read_text())[name]
    rule, tensors = RULES[name], {}
    stages: list[str] = []
    for tensor, (shape, kind) in stored.items():
        tensors[tensor] = (tuple(shape), kind)
        found = re.search(rule.block, tensor)
        if not found or not rule.depths:
            continue
        if found[1] not in stages:
            stages.append(found[1])
        if int(found[2]) == rule.keep - 1:
            for number in range(rule.keep, rule.depths[stages.index(found[1])]):
                start, end = found.span(2)
                tensors[f'{tensor[:start]}{number}{tensor[end:]}'] = tensors[tensor]
    return tensors


def without(tensors: Layout, *prefixes: str) -> Layout:
    """Tensors whose names, unwrapped, do not begin with one of the prefixes."""
    return {k: v for k, v in tensors.items() if not bare(k).startswith(prefixes)}


def bare(name: str) -> str:
    """A released name without the wrappers that the layouts have."""
    return re.sub(r'^module\.(backbone\.backbone\.)?', '', name)


def random_weights(tensors: Layout, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors; counters and indices are 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, (shape, kind) in tensors.items():
        value = torch.rand(shape, generator=generator) + 0.1
        # Small, so that deep networks stay finite
        value = value if len(shape) < 2 else 0.1 * (value - 0.6)
        weights[name] = value if kind == 'float32' else torch.zeros(shape).long()
    return weights


def checkpoint(
    student: dict[str, torch.Tensor], teacher: dict[str, torch.Tensor], **more: Any
) -> dict[str, Any]:
    """What the program saves, of networks with or without a region head."""
    number = next(len(v) for k, v in teacher.items() if k.endswith('weight_g'))
    centers = {'center': torch.rand(1, number)}
    if any('head_dense.' in name for name in teacher):
        centers['center_grid'] = torch.rand(1, number)
    return dict(
        student=student,
        teacher=teacher,
        optimizer=dict(state={}, param_groups=[dict(lr=5e-4, params=[0])]),
        epoch=7,
        args=argparse.Namespace(arch='swin_tiny', local_crops_number=(8,), lr=5e-4),
        dino_loss=centers,
        **more,
    )


if __name__ == '__main__':
    source = json.loads((Path(sys.argv[1]) / 'checkpoint_layouts.json').read_text())
    networks = [
        f' {json.dumps(name)}: {{\n'
        + ',\n'.join(f'  {json.dumps(k)}: {json.dumps(v)}' for k, v in tensors.items())
        + '\n }'
        for name, tensors in derive(source['student']).items()
    ]
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text('{\n' + ',\n'.join(networks) + '\n}\n')
