"""A small MoCo v3 that trains in milliseconds, and checkpoints of its program."""

import json
from pathlib import Path
from typing import Any

import torch
from mmpretrain.models.utils import build_2d_sincos_position_embedding

WIDTH = 48


def small_mocov3(
    backbone: dict[str, Any] | None = None,
    neck: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Config of a ``ReleasedMoCoV3`` for images of 32 px, with options of its parts."""
    norm_cfg = dict(type='BN1d')
    mlp = dict(
        type='NonLinearNeck',
        hid_channels=32,
        out_channels=16,
        with_last_bn_affine=False,
        with_avg_pool=False,
        norm_cfg=norm_cfg,
    )
    return dict(
        type='ReleasedMoCoV3',
        backbone={
            'type': 'MoCoV3VisionTransformer',
            'arch': dict(
                embed_dims=WIDTH, num_layers=2, num_heads=12, feedforward_channels=64
            ),
            'img_size': 32,
            'patch_size': 16,
            **(backbone or {}),
        },
        neck={**mlp, 'in_channels': WIDTH, 'num_layers': 3, **(neck or {})},
        head=dict(
            type='MoCoV3Head',
            predictor={**mlp, 'in_channels': 16, 'num_layers': 2},
            loss=dict(type='CrossEntropyLoss', loss_weight=0.4),
            temperature=0.2,
        ),
        **options,
    )


def released_shapes(golden: Path, case: str, small: bool = False) -> dict[str, list]:
    """Names and shapes of the program's weights; small is ViT-Tiny with two blocks."""
    shapes = json.loads((golden / f'{case}.json').read_text())['shapes']
    if not small:
        return shapes
    return {
        name: [size // 2 if size % 384 == 0 else size for size in shape]
        for name, shape in shapes.items()
        if 'blocks' not in name or name.split('.')[2] in '01'
    }


def released_checkpoint(shapes, seed=0):
    """Weights as the program saves them, with what it does not fill by names."""
    from golden import fill

    networks = fill(shapes, seed)
    if 'base_encoder.cls_token' in shapes:
        width = shapes['base_encoder.cls_token'][-1]
        positions = build_2d_sincos_position_embedding(14, width, cls_token=True)
        networks['base_encoder.pos_embed'] = positions
    # Batch norms have statistics; the last of an MLP has these alone.
    widths = {
        name.removesuffix('.weight'): len(value)
        for name, value in networks.items()
        if value.dim() == 1 and name.endswith('.weight') and 'norm' not in name
    }
    last = {'base_encoder.head.6': 'base_encoder.head.7'}
    last['base_encoder.fc.3'] = 'base_encoder.fc.4'
    if 'base_encoder.cls_token' in shapes:
        last['predictor.3'] = 'predictor.4'
    for layer, norm in last.items():
        if f'{layer}.weight' in networks:
            widths[norm] = len(networks[f'{layer}.weight'])
    for norm, width in widths.items():
        networks[f'{norm}.running_mean'] = torch.zeros(width)
        networks[f'{norm}.running_var'] = torch.ones(width)
        networks[f'{norm}.num_batches_tracked'] = torch.tensor(0)
    for name, value in list(networks.items()):
        if name.startswith('base_encoder.'):
            networks[name.replace('base', 'momentum', 1)] = value
    return dict(
        epoch=300,
        arch='vit_small',
        state_dict={f'module.{name}': value for name, value in networks.items()},
        optimizer={},
        scaler={},
    )
