"""``img_size`` as one number, or as height and width."""

import pytest
import torch
from mmpretrain.registry import MODELS
from support.training import SMALL_SWIN

from esvit_plugin.models.conversion.timm_export import to_timm
from esvit_plugin.models.utils import image_size

SWIN = dict(
    SMALL_SWIN, arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4])
)
VIL = dict(
    type='ViL',
    arch=dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4]),
    window_size=4,
)
VIT = dict(type='DINOVisionTransformer', arch='deit-tiny', out_type='raw')


def build(cfg, img_size):
    model = MODELS.build(dict(cfg, img_size=img_size))
    model.eval()  # None, of mmpretrain's
    return model


@pytest.mark.parametrize('cfg', [SWIN, VIL, VIT], ids=lambda cfg: cfg['type'])
@pytest.mark.parametrize('img_size', [(64, 64), [64, 64]])
def test_two_equal_sides_are_one_number(cfg, img_size):
    one, two = build(cfg, 64), build(cfg, img_size)
    one.init_weights()
    two.load_state_dict(one.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(one(x)[-1], two(x)[-1])
    assert image_size(two) == 64


@pytest.mark.parametrize(
    ('img_size', 'windows'),
    [((64, 128), [4, 4, 4, 2]), ([96, 64], [4, 4, 4, 2]), ((128, 192), [4, 4, 4, 4])],
)
def test_the_shorter_side_decides_the_windows_of_swin(img_size, windows):
    model = build(SWIN, img_size)
    tables = [s.blocks[0].attn.w_msa.relative_position_bias_table for s in model.stages]
    assert [len(table) for table in tables] == [(2 * w - 1) ** 2 for w in windows]
    square = build(SWIN, min(img_size))
    square.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(1, 3, *img_size)
    out = model(x)[-1]
    assert out.shape == (1, 64, img_size[0] // 32, img_size[1] // 32)
    assert torch.equal(out, square(x)[-1])
    assert image_size(model) == min(img_size)


def test_a_wide_vision_transformer_runs_at_its_size():
    model = build(VIT, (64, 128))
    assert model(torch.randn(1, 3, 64, 128))[-1].shape[1] == 1 + 4 * 8
    assert image_size(model) == 64


@pytest.mark.parametrize(
    ('cfg', 'img_size', 'message'),
    [
        (SWIN, (64, 66), r'img_size=\(64, 66\) is no multiple of patch_size=4; give'),
        (SWIN, (16, 64), r'img_size must be at least 32, got \(16, 64\)'),
        (SWIN, (64,), r'one number of pixels or \(height, width\), got \(64,\)'),
        (SWIN, (64, 64, 3), r'\(height, width\), got \(64, 64, 3\)'),
        (SWIN, 64.5, r'\(height, width\), got 64.5'),
        (SWIN, '64', r"\(height, width\), got '64'"),
        (VIL, (64, 128), r'one number, got \(64, 128\), .*any height and width'),
        (VIL, (64, 64, 64), r'\(height, width\), got \(64, 64, 64\)'),
    ],
)
def test_other_sizes_are_refused(cfg, img_size, message):
    with pytest.raises(ValueError, match=message):
        build(cfg, img_size)


def test_timm_takes_oblong_sizes_where_its_windows_are_ours():
    timm = pytest.importorskip('timm')
    model = build(SWIN, (160, 192))
    arguments, weights = to_timm(model)
    assert arguments['img_size'] == (160, 192)
    other = timm.create_model(**arguments).eval()
    other.load_state_dict(weights, strict=True)
    x = torch.randn(1, 3, 160, 192)
    with torch.no_grad():
        features = other.forward_features(x).permute(0, 3, 1, 2)
        torch.testing.assert_close(features, model(x)[-1], atol=1e-4, rtol=1e-3)
    assert to_timm(build(SWIN, (64, 64)))[0]['img_size'] == 64
    with pytest.raises(ValueError, match=r'img_size=\(64, 128\).*Give one number'):
        to_timm(build(SWIN, (64, 128)))
