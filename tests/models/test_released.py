"""Backbones of the authors' program: recognised, renamed and equal."""

import json

import numpy as np
import pytest
import released_layouts
import torch
from mmpretrain.registry import MODELS

from esvit_plugin.models.backbones.released import (
    RELEASED_ARCHS,
    backbone_from_released,
)
from esvit_plugin.models.features import split_features
from esvit_plugin.models.last_blocks import pool_last_blocks

CASES = {
    'swin_t_w7': 'swin_tiny',
    'swin_t_w14': 'swin_tiny_w14',
    'swin_s_w7': 'swin_small',
    'swin_b_w14': 'swin_base_w14',
    'vil_t': 'vil_tiny',
    'cvt_t': 'cvt_tiny',
    'deit_s': 'deit_small',
    'resnet50': 'resnet50',
}


@pytest.mark.parametrize('case', CASES)
def test_matches_the_authors_program(golden, case):
    from golden import fill, images

    shapes = json.loads((golden / f'backbone_{case}.json').read_text())
    reference = np.load(golden / f'backbone_{case}.npz')
    cfg, weights = backbone_from_released(fill(shapes))
    expected = RELEASED_ARCHS[CASES[case]]
    assert {key: cfg[key] for key in expected if key != 'window_size'} == {
        key: value for key, value in expected.items() if key != 'window_size'
    }
    assert cfg.get('window_size', 7) == expected.get('window_size', 7)
    model = MODELS.build(cfg)
    model.load_state_dict(weights, strict=True)
    model.eval()
    with torch.no_grad():
        for size in (224, 96):
            view, regions = split_features(model, model(images(0, 2, size)))
            for name, value in (('pooled', view), ('region', regions)):
                wanted = reference[f'{name}_{size}']
                np.testing.assert_allclose(value, wanted, atol=1e-4)
        last4 = pool_last_blocks(model, images(0, 2, 224))
    if 'last4_224' in reference:
        np.testing.assert_allclose(last4, reference['last4_224'], atol=1e-4)
    else:  # a ResNet's features are its pooled last map
        np.testing.assert_allclose(last4, reference['pooled_224'], atol=1e-4)


def resnet_weights():
    return MODELS.build(dict(type='ResNet', depth=18)).state_dict()


def test_what_is_found_from_the_weights():
    cfg, _ = backbone_from_released(resnet_weights())
    assert cfg == dict(type='ResNet', depth=18)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"they begin with \['unknown'\]"):
        backbone_from_released({'unknown': torch.zeros(1)})
    with pytest.raises(ValueError, match="no arch 'swin_huge'; choose one of"):
        backbone_from_released(resnet_weights(), 'swin_huge')
    with pytest.raises(ValueError, match='those of a ResNet .*, not of vil_tiny'):
        backbone_from_released(resnet_weights(), 'vil_tiny')


@pytest.mark.parametrize(
    ('shapes', 'expected'),
    [
        (
            released_layouts.swin(),
            dict(
                type='EsViTSwin',
                arch=dict(embed_dims=16, depths=[1, 1], num_heads=[1, 2]),
                window_size=4,
                patch_size=4,
                out_indices=(1,),
            ),
        ),
        (
            released_layouts.vil(),
            dict(
                type='ViL',
                arch=dict(embed_dims=[8, 16], depths=[1, 2], num_heads=[1, 2]),
                img_size=24,
                patch_sizes=(4, 2),
                window_size=4,
                num_chunk_stages=1,
                num_global_tokens=(1, 0),
                out_indices=(1,),
            ),
        ),
        (released_layouts.cvt(), dict(type='CvT', arch='tiny')),
        (
            released_layouts.vit(),
            dict(
                type='VisionTransformer',
                arch='deit-tiny',
                img_size=32,
                patch_size=16,
                out_type='raw',
            ),
        ),
    ],
    ids=['swin', 'vil', 'cvt', 'vit'],
)
def test_the_backbone_is_found_from_made_up_weights(shapes, expected):
    # Every tensor is full of a number of its own.
    weights = {
        name: torch.full(shape, float(number))
        for number, (name, shape) in enumerate(shapes.items())
    }
    cfg, converted = backbone_from_released(weights)
    assert cfg == expected
    model = MODELS.build(cfg)
    model.load_state_dict(converted, strict=True)
    used = {
        value
        for param in model.parameters()
        for value in (param.flatten()[0].item(), param.flatten()[-1].item())
    }
    assert used <= set(range(len(shapes)))


def test_an_unknown_cvt_is_refused():
    shapes = released_layouts.cvt(dims=(8, 16), depths=(1, 1))
    weights = {name: torch.rand(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=r'widths \[8, 16\] .* none of'):
        backbone_from_released(weights)
