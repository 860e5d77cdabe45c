"""Backbones of the authors' program: recognised, renamed and equal."""

import json

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from support import released_layouts
from support.released_layouts import RULES, bare, without
from timm.models.swin_transformer import SwinTransformer

from esvit_plugin.models.conversion.backbones import (
    RELEASED_ARCHS,
    backbone_from_released,
    check_fit,
)
from esvit_plugin.models.conversion.files import find_released_backbone
from esvit_plugin.models.conversion.names import (
    MARKERS,
    must_convert,
    unwrap_name,
    unwrap_names,
)
from esvit_plugin.models.last_blocks import pool_last_blocks
from esvit_plugin.models.view_and_regions import split_features

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


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
@pytest.mark.usefixtures('_whole_backbones')
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


def test_a_swin_of_larger_windows_is_of_larger_images():
    """Windows of 12 x 12 positions are of 384 px: at 224 px the last map has 7 x 7."""
    model = SwinTransformer(
        384, embed_dim=12, depths=(1, 1, 1, 1), num_heads=(3, 6, 12, 24), window_size=12
    )
    cfg, weights = backbone_from_released(
        {k: v for k, v in model.state_dict().items() if not k.startswith('head.')}
    )
    assert (cfg['window_size'], cfg['img_size']) == (12, 384)
    check_fit(cfg, weights)
    assert find_released_backbone(dict(model=model.state_dict())).config == cfg


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"they begin with \['unknown'\]"):
        backbone_from_released({'unknown': torch.zeros(1)})
    with pytest.raises(ValueError, match="no arch 'swin_huge'; choose one of"):
        backbone_from_released(resnet_weights(), 'swin_huge')
    with pytest.raises(ValueError, match='those of a ResNet .*, not of vil_tiny'):
        backbone_from_released(resnet_weights(), 'vil_tiny')


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        (
            'swin',
            dict(
                type='EsViTSwin',
                arch=dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[3, 6, 12, 24]),
                window_size=7,
                patch_size=4,
                out_indices=(3,),
            ),
        ),
        (
            'vil',
            dict(
                type='ViL',
                arch=dict(
                    embed_dims=[12, 24, 48, 96],
                    depths=[1, 1, 1, 1],
                    num_heads=[3, 6, 12, 24],
                ),
                img_size=224,
                patch_sizes=(4, 2, 2, 2),
                window_size=7,
                num_chunk_stages=2,
                num_global_tokens=(1, 1, 1, 0),
                out_indices=(3,),
            ),
        ),
        ('cvt', dict(type='CvT', arch='tiny')),
        (
            'deit',
            dict(
                type='VisionTransformer',
                arch=dict(
                    embed_dims=192,
                    num_layers=2,
                    num_heads=3,
                    feedforward_channels=768,
                ),
                img_size=224,
                patch_size=16,
                out_type='raw',
            ),
        ),
        ('resnet50', dict(type='ResNet', depth=50)),
    ],
)
def test_the_backbone_is_found_from_small_layouts(name, expected):
    layout = without(released_layouts.layout(name), 'head')
    # Every tensor is full of a number of its own; indices would be wrong ones.
    weights = {
        bare(name): torch.full(shape, number + 1000.0)
        for number, (name, (shape, _)) in enumerate(layout.items())
    }
    cfg, converted = backbone_from_released(weights)
    assert cfg == expected
    model = MODELS.build(cfg)
    fresh = {k: v for k, v in model.named_buffers() if v.dtype == torch.long}
    model.load_state_dict(converted, strict=True)
    used = {
        value
        for param in model.parameters()
        for value in (param.flatten()[0].item(), param.flatten()[-1].item())
    }
    assert min(used) >= 1000 and max(used) < 1000 + len(layout)
    # Indices follow from the shapes, whatever the file holds; counters are copied.
    for buffer, value in model.named_buffers():
        if buffer in fresh and not buffer.endswith('num_batches_tracked'):
            assert torch.equal(value, fresh[buffer]), buffer


def test_an_unknown_cvt_is_refused():
    weights = {
        bare(name): torch.rand([size // 8 if size >= 64 else size for size in shape])
        for name, (shape, _) in without(released_layouts.layout('cvt'), 'head').items()
    }
    with pytest.raises(ValueError, match=r'widths \[8, 24, 48, 96\] .* none of'):
        backbone_from_released(weights)


@pytest.mark.usefixtures('_whole_backbones')
def test_small_layouts_are_those_of_the_release(golden):
    full = json.loads((golden / 'checkpoint_layouts.json').read_text())['student']
    stored = json.loads(released_layouts.DATA.read_text())
    assert stored == json.loads(json.dumps(released_layouts.derive(full)))
    for name in ('cvt', 'resnet50'):
        whole = {k: (tuple(v[0]), v[1]) for k, v in full[RULES[name].source].items()}
        ours = without(released_layouts.layout(name), 'head')
        assert ours == without(whole, 'head')


def test_the_index_of_swins_table_is_the_models_own():
    layout = released_layouts.layout('swin')
    weights = released_layouts.random_weights(without(layout, 'head'))
    cfg, converted = backbone_from_released({bare(k): v for k, v in weights.items()})
    model = MODELS.build(cfg)
    model.load_state_dict(converted, strict=True)
    # Row of the table for the offset of each pair of positions, as its paper has it
    places = [(row, column) for row in range(7) for column in range(7)]
    expected = [[(a - c + 6) * 13 + (b - d + 6) for c, d in places] for a, b in places]
    names = [n for n in layout if n.endswith('relative_position_index')]
    buffers = [v for n, v in model.named_buffers() if n.endswith('position_index')]
    assert len(names) == len(buffers) == 4
    for name, buffer in zip(names, buffers):
        assert layout[name] == (tuple(buffer.shape), 'int64')
        assert buffer.tolist() == expected


def test_wrappers_are_stripped_by_one_rule():
    for wrapped in (
        'conv1.weight',
        'module.conv1.weight',
        'module.backbone.conv1.weight',
        'module.backbone.backbone.conv1.weight',
        '_orig_mod.module.backbone._orig_mod.conv1.weight',
    ):
        assert unwrap_name(wrapped) == 'conv1.weight'
    # Only at the beginning, and whole words
    assert unwrap_name('layers.0.module.x') == 'layers.0.module.x'
    assert unwrap_name('backbone_norm.weight') == 'backbone_norm.weight'
    with pytest.raises(ValueError, match=r'module\.a and backbone\.a are both the a'):
        unwrap_names({'module.a': 0, 'backbone.a': 1})


def test_what_must_be_converted():
    def names(*names, prefix=''):
        return {f'{prefix}{name}': torch.zeros(1) for name in names}

    for family, marker in MARKERS.items():
        for prefix in ('module.', 'module.backbone.backbone.', '_orig_mod.'):
            assert must_convert(names(marker, prefix=prefix)), (family, prefix)
        assert must_convert(dict(teacher=names(marker, prefix='module.')))
        # A model that has these names itself
        assert not must_convert(names(marker), names(marker, prefix='backbone.'))
        own = names(marker, prefix='teacher.backbone.')
        assert not must_convert(own)
    # mmpretrain's names are torchvision's
    for prefix in ('', 'backbone.'):
        assert not must_convert(names(MARKERS['ResNet'], prefix=prefix))
    assert not must_convert({})
