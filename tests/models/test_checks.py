"""Options that would train nothing or fail late are refused when a part is built."""

import math

import pytest
import torch
from mmpretrain.registry import MODELS
from support.training import SMALL_SWIN

ARCH = dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4])
BACKBONES = {
    'EsViTSwin': SMALL_SWIN,
    'ViL': dict(type='ViL', arch=ARCH, img_size=64, window_size=4),
    'CvT': dict(type='CvT', arch=ARCH, window_size=4),
}
HEADS = ['DINOViewHead', 'RegionMatchingHead']


def refused(cfg, *words):
    with pytest.raises(ValueError) as caught:
        MODELS.build(cfg)
    message = str(caught.value)
    assert all(word in message for word in (cfg['type'], *words)), message
    assert message.count('\n') < 3


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize(
    'option',
    [
        *(dict(drop_path_rate=value) for value in (-0.1, 1, 1.5, math.nan)),
        *(dict(window_size=value) for value in (0, -7)),
        *(dict(frozen_stages=value) for value in (-2, 4)),
        *(dict(out_indices=value) for value in ((4,), (-1,))),
    ],
)
def test_backbones(name, option):
    ((key, value),) = option.items()
    refused({**BACKBONES[name], **option}, f'{key}', str(value))


@pytest.mark.parametrize('name', ['EsViTSwin', 'ViL'])
@pytest.mark.parametrize('img_size', [0, -4, 2, 16])
def test_image_sizes_of_options(name, img_size):
    refused({**BACKBONES[name], 'img_size': img_size}, f'got {img_size};', 'position')


def test_patch_sizes():
    refused({**SMALL_SWIN, 'patch_size': 0}, 'patch_size', 'got 0')
    for sizes in ((0, 2, 2, 2), (4, 2, 2, -1)):
        refused({**BACKBONES['ViL'], 'patch_sizes': sizes}, 'patch_size', '; the paper')


@pytest.mark.parametrize('name', BACKBONES)
def test_images_smaller_than_a_patch(name):
    model = MODELS.build(BACKBONES[name])
    model.eval()
    for shape in ((3, 64), (64, 1), (0, 0)):
        text = f'{name} cuts .* 4 px, but got one of {shape[0]} x {shape[1]} px; use'
        with pytest.raises(ValueError, match=text):
            model(torch.rand(2, 3, *shape))
    assert model(torch.rand(2, 3, 4, 4))[-1].isfinite().all()


@pytest.mark.parametrize('name', [*HEADS, 'DINOProjection'])
@pytest.mark.parametrize('number', [1, 0, -3])
def test_prototypes(name, number):
    cfg = dict(type=name, out_channels=number)
    if name == 'DINOProjection':
        cfg['in_channels'] = 8
    refused(cfg, 'out_channels', f'got {number}')


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('option', ['student_temp', 'teacher_temp'])
@pytest.mark.parametrize('value', [0, -0.1, 1e-5, math.inf, math.nan])
def test_temperatures(name, option, value):
    refused(dict(type=name, **{option: value}), f'{option}={value}', '0.0001', 'paper')


@pytest.mark.parametrize(
    ('option', 'value'),
    [('std', x) for x in (0, -1.0, math.nan, math.inf)] + [('mean', math.nan)],
)
def test_normalisation(option, value):
    cfg = dict(type='MultiCropDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6])
    refused({**cfg, option: [4.0, value, 5.0]}, option, f'{value}', '0-255')
    MODELS.build(cfg), MODELS.build(dict(type=cfg['type']))
