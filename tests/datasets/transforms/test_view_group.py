"""View groups: operations against torchvision's, draws against their laws."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from support.plain_views import distance, photo, plain_draw, plain_view
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from esvit_plugin.datasets.transforms.view_group import ViewGroup

OFF = dict(flip_prob=0, color_jitter_prob=0, gray_prob=0, blur_prob=0, solarize_prob=0)


NOISE = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
IMAGES = {
    'photo': photo(),
    'dark': photo() // 8,
    'noise': NOISE,
    # Nothing but the corners of the colour cube, in squares.
    'posterised': np.repeat(np.repeat(NOISE[:6, :8], 10, 0), 10, 1) // 128 * 255,
    'grey': np.repeat(photo()[..., :1], 3, axis=2),
    'white': np.full((60, 80, 3), 255, np.uint8),
}


# ---------------------------------------------------------------- operations


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear', 'lanczos', 'box', 'nearest'])
@pytest.mark.parametrize('image', ['photo', 'noise'])
def test_crops_equal_torchvision(image, mode):
    mode = InterpolationMode(mode)
    for top, left, height, width in [
        (0, 0, 60, 80),
        (5, 7, 40, 50),
        (59, 79, 1, 1),
        (30, 0, 2, 80),
        (0, 70, 60, 10),
    ]:
        draw = plain_draw(top=top, left=left, height=height, width=width)
        for size in (16, 96):
            made = ViewGroup(size=size).crop(IMAGES[image], draw, mode)
            twin = plain_view(IMAGES[image], draw, size, interpolation=mode)
            assert distance(made, twin) < 0.5


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize(
    'changes',
    [
        dict(flip=True),
        *(
            dict(jitter=((name, factor),))
            for name in ('brightness', 'contrast', 'saturation')
            for factor in (0, 0.6, 1, 1.4, 3)
        ),
        *(dict(jitter=(('hue', f),)) for f in (-0.5, -0.07, 0, 0.004, 0.1, 0.5)),
        dict(gray=True),
        *(dict(blur_radius=radius) for radius in (0, 0.1, 0.5, 1.7, 9)),
        dict(solarize=True),
    ],
)
def test_operations_equal_torchvision(changes, order):
    group = ViewGroup(size=48, augment=dict(solarize_threshold=99.5))
    step = 1 if order == 'rgb' else -1
    for name, image in IMAGES.items():
        draw = plain_draw(**changes)
        made = group.apply(image[..., ::step], draw, channel_order=order)[..., ::step]
        twin = plain_view(image, draw, 48, 99.5)
        assert distance(made, twin) < 1.5, name
        # An operation that does another thing is off by more than that.
        change = distance(twin, plain_view(image, plain_draw(), 48))
        assert distance(made, twin) < max(1.2, change / 10), name


CHAINS = [
    dict(jitter=(('hue', -0.07), ('contrast', 1.4), ('brightness', 0.7))),
    dict(jitter=(('contrast', 0.6), ('saturation', 1.2), ('hue', 0.1)), blur_radius=1),
    dict(
        flip=True,
        jitter=(('saturation', 0.8), ('hue', 0.05), ('brightness', 1.2)),
        gray=True,
        blur_radius=0.4,
        solarize=True,
    ),
]


@pytest.mark.parametrize('changes', CHAINS)
@pytest.mark.parametrize('size', [24, 96])
def test_chains_equal_torchvision(changes, size):
    group = ViewGroup(size=size, augment=dict(solarize_threshold=100))
    draw = plain_draw(**changes)
    made = group.apply(photo(), draw)
    assert distance(made, plain_view(photo(), draw, size, 100)) < 1.5
    assert distance(made, group.apply(photo(), plain_draw())) > 5


def test_images_of_pillow_are_taken_too():
    draw = plain_draw(flip=True)
    made = ViewGroup(size=24).apply(Image.fromarray(photo()), draw)
    np.testing.assert_array_equal(made, ViewGroup(size=24).apply(photo(), draw))


# ---------------------------------------------------------------- statistics


def draws_of(count=2000, height=300, width=400, **group):
    rng = np.random.default_rng(0)
    law = ViewGroup(**group)
    return [law.draw(rng, height, width) for _ in range(count)]


def test_probabilities():
    augment = dict(flip_prob=0.3, color_jitter_prob=0.7, solarize_prob=0.2)
    draws = draws_of(augment=dict(augment, gray_prob=0.1, blur_prob=0.9))
    share = {
        'flip': np.mean([d.flip for d in draws]),
        'jitter': np.mean([bool(d.jitter) for d in draws]),
        'gray': np.mean([d.gray for d in draws]),
        'blur': np.mean([d.blur_radius is not None for d in draws]),
        'solarize': np.mean([d.solarize for d in draws]),
    }
    wanted = dict(flip=0.3, jitter=0.7, gray=0.1, blur=0.9, solarize=0.2)
    assert share == pytest.approx(wanted, abs=0.035)


def test_probability_zero_is_never_and_one_is_always():
    assert not any(
        d.flip or d.jitter or d.gray or d.blur_radius or d.solarize
        for d in draws_of(200, augment=OFF)
    )
    always = {name: 1 for name in OFF}
    for d in draws_of(200, augment=always):
        assert d.flip and len(d.jitter) == 4 and d.gray and d.solarize
        assert d.blur_radius is not None


def test_jitter_factors_and_order():
    draws = draws_of(augment=dict(color_jitter=(0.4, 0.3, 1.5, 0.1)))
    ranges = dict(
        brightness=(0.6, 1.4), contrast=(0.7, 1.3), saturation=(0, 2.5), hue=(-0.1, 0.1)
    )
    for name, (low, high) in ranges.items():
        factors = [f for d in draws for n, f in d.jitter if n == name]
        assert min(factors) >= low and max(factors) <= high
        assert np.mean(factors) == pytest.approx((low + high) / 2, abs=0.05)
        assert max(factors) - min(factors) > 0.98 * (high - low)
    orders = {tuple(n for n, _ in d.jitter) for d in draws if d.jitter}
    assert len(orders) == math.factorial(4)


def test_zero_strength_leaves_the_operation_out():
    draws = draws_of(50, augment=dict(color_jitter=(0.4, 0, 0, 0)))
    assert {n for d in draws for n, _ in d.jitter} == {'brightness'}


def test_blur_radius_is_uniform_and_new_each_time():
    radii = [d.blur_radius for d in draws_of(augment=dict(blur_prob=1))]
    assert 0.1 <= min(radii) < 0.12 and 1.98 < max(radii) <= 2.0
    # Four standard errors of the mean of 2000.
    assert np.mean(radii) == pytest.approx(1.05, abs=0.05)


@pytest.mark.parametrize('scale', [(0.4, 1.0), (0.05, 0.4)])
@pytest.mark.parametrize('shape', [(300, 400), (400, 300)])
def test_crop_law_is_that_of_torchvision(scale, shape):
    height, width = shape
    draws = draws_of(4000, *shape, scale=scale)
    area = np.array([d.height * d.width for d in draws]) / (height * width)
    ratio = np.log([d.width / d.height for d in draws])
    assert scale[0] * 0.98 <= area.min() and area.max() <= min(1, scale[1] * 1.02)
    assert abs(ratio).max() <= math.log(4 / 3) + 0.03
    assert all(0 <= d.top <= height - d.height for d in draws)
    assert all(0 <= d.left <= width - d.width for d in draws)

    torch.manual_seed(0)
    blank = torch.zeros(3, height, width)
    twin = np.array(
        [
            RandomResizedCrop.get_params(blank, list(scale), [3 / 4, 4 / 3])
            for _ in range(4000)
        ]
    )
    ours = np.array([(d.top, d.left, d.height, d.width) for d in draws])
    np.testing.assert_allclose(ours.mean(0), twin.mean(0), atol=0.01 * width)
    np.testing.assert_allclose(ours.std(0), twin.std(0), atol=0.01 * width)


@pytest.mark.parametrize('shape', [(1, 500), (500, 1), (20, 300), (300, 20)])
def test_central_fallback_is_that_of_torchvision(shape):
    # At full area no box of an allowed ratio fits into so narrow an image.
    draw = draws_of(1, *shape, scale=(1.0, 1.0))[0]
    blank = torch.zeros(3, *shape)
    twin = RandomResizedCrop.get_params(blank, [1.0, 1.0], [3 / 4, 4 / 3])
    assert (draw.top, draw.left, draw.height, draw.width) == tuple(twin)
