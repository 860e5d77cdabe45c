"""Checkpoints of the authors' program, whole and small, and their conversion."""

import json

import numpy as np
import torch
from mmpretrain.registry import MODELS

from support import released_layouts
from support.released_layouts import (
    PROTOTYPES,
    bare,
    checkpoint,
    random_weights,
    without,
)
from support.tools import run

TOOL = 'model_converters/esvit_to_mmpretrain.py'
SMALL_SWIN = dict(
    type='EsViTSwin',
    arch=dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[3, 6, 12, 24]),
)


def arrange(weights, other, wrapped=(), regions=True, scaler=False):
    """A full checkpoint of a teacher's weights and a student's, by wrapped names."""

    def network(values, source):
        values = values if regions else without(values, 'head_dense')
        strip = '' if source in wrapped else 'module.'
        return {name.removeprefix(strip): v for name, v in values.items()}

    more = dict(fp16_scaler=dict(scale=65536.0, growth_tracker=3)) if scaler else {}
    return checkpoint(network(other, 'student'), network(weights, 'teacher'), **more)


def convert(tmp_path, content, *options):
    src, dst = tmp_path / 'released.pth', tmp_path / 'converted.pth'
    torch.save(content, src)
    return run(TOOL, src, dst, *options), dst


def load_strictly(cfg, path):
    model = MODELS.build(cfg)
    state_dict = torch.load(path, weights_only=True)['state_dict']
    model.load_state_dict(state_dict, strict=True)
    model.eval()
    return model, state_dict


def named(golden, case, number=64):
    """All weights of a released network by name, of few prototypes."""
    from golden import fill

    layouts = json.loads((golden / 'checkpoint_layouts.json').read_text())
    shapes = {
        name: [number, *shape[1:]] if '.last_layer.' in name else shape
        for name, (shape, _) in layouts['student'][case].items()
    }
    # Values follow from the names that the reference knows.
    filled = fill({bare(name): shape for name, shape in shapes.items()})
    return {name: filled[bare(name)] for name in shapes}


def check_reference(golden, case, encode):
    """Compare features with those of the authors' program."""
    from golden import images

    reference = np.load(golden / f'backbone_{case}.npz')
    for size in (224, 96):
        with torch.no_grad():
            features = encode(images(0, 2, size))
        for kind, value in zip(('pooled', 'region'), features):
            np.testing.assert_allclose(value, reference[f'{kind}_{size}'], atol=1e-4)


def small(name, **settings):
    """A small checkpoint in the authors' structure, and the weights in it."""
    layout = released_layouts.layout(name)
    weights = random_weights(layout)
    return arrange(weights, random_weights(layout, 1), **settings), weights


def small_config(regions=True):
    neck = dict(
        type='DINOProjection',
        in_channels=96,
        out_channels=PROTOTYPES,
        hidden_channels=256,
        bottleneck_channels=32,
    )
    head = dict(out_channels=PROTOTYPES)
    return dict(
        type='EsViT',
        backbone=SMALL_SWIN,
        neck=neck,
        head=dict(type='DINOViewHead', **head),
        region_neck=neck if regions else None,
        region_head=dict(type='RegionMatchingHead', **head) if regions else None,
    )
