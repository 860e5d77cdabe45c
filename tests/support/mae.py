"""Small masked autoencoders, and checkpoints in the layout of MAE-lite's program."""

from typing import Any

import torch

from esvit_plugin.models.backbones.mae_vit import mae_positions

ARCH = dict(embed_dims=48, num_layers=2, num_heads=4, feedforward_channels=96)
GRID = dict(img_size=64, patch_size=16)


def small_mae(**backbone: Any) -> dict[str, Any]:
    """Config of a masked autoencoder of 16 patches that trains in milliseconds."""
    return dict(
        type='MAE',
        backbone={'type': 'MAELiteViT', 'arch': dict(ARCH), **GRID, **backbone},
        neck=dict(
            type='MAELiteDecoder',
            num_patches=16,
            embed_dim=48,
            decoder_embed_dim=32,
            decoder_depth=1,
            decoder_num_heads=2,
        ),
        head=dict(
            type='MAEPretrainHead',
            norm_pix=True,
            loss=dict(type='PixelReconstructionLoss', criterion='L2'),
        ),
    )


def small_distilled(checkpoint: Any, **teacher: Any) -> dict[str, Any]:
    """Config of a D-MAE whose teacher is as small."""
    backbone = dict(arch=dict(ARCH), **GRID)
    return dict(
        small_mae(),
        type='DistilledMAE',
        target_generator=dict(
            type='MAETeacher',
            checkpoint=str(checkpoint),
            backbone={**backbone, **teacher},
        ),
    )


def released_mae(settings: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """A checkpoint of MAE-lite's program with the weights of a reference case."""
    from golden import fill

    distilled = 'teacher_shapes' in settings
    shapes = settings['student_shapes' if distilled else 'shapes']
    weights = {f'model.{n}': v for n, v in fill(shapes, seed).items()}
    for part in ('', 'decoder_'):
        width = shapes['cls_token' if not part else 'mask_token'][-1]
        weights[f'model.{part}pos_embed'] = mae_positions(14, width)
    if distilled:
        names = {f'teacher.{n}': s for n, s in settings['teacher_shapes'].items()}
        for name, value in fill(names, seed).items():
            weights[f'tch_model.{name.removeprefix("teacher.")}'] = value
        weights['tch_model.pos_embed'] = mae_positions(14, 768)
        weights.update(fill({'attn_adapter.weight': (12, 12, 1, 1)}, seed))
    return dict(model={f'module.{n}': v for n, v in weights.items()}, epoch=400)


def teacher_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The teacher of such a checkpoint, in MAE's names."""
    prefix = 'module.tch_model.'
    return {
        name.removeprefix(prefix): value
        for name, value in checkpoint['model'].items()
        if name.startswith(prefix)
    }
