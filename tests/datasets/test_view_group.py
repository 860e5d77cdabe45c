"""View groups: operations against plain Pillow, draws against their laws."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from esvit_plugin.datasets.transforms.view_group import ViewDraw, ViewGroup

OFF = dict(flip_prob=0, color_jitter_prob=0, gray_prob=0, blur_prob=0, solarize_prob=0)


def photo(height=60, width=80, seed=0):
    """A smooth random image: neither constant nor pure noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    size = (width, height)
    return np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))


# ---------------------------------------------------------------- operations


def plain_jitter(view, name, factor):
    if name != 'hue':
        enhancer = dict(
            brightness=ImageEnhance.Brightness,
            contrast=ImageEnhance.Contrast,
            saturation=ImageEnhance.Color,
        )[name]
        return enhancer(view).enhance(factor)
    h, s, v = (np.asarray(c).astype(int) for c in view.convert('HSV').split())
    hsv = np.stack([(h + int(factor * 255)) % 256, s, v], axis=-1).astype(np.uint8)
    return Image.fromarray(hsv, mode='HSV').convert('RGB')


def plain_view(image, draw, size, threshold):
    """The whole chain in bare Pillow."""
    box = (draw.left, draw.top, draw.left + draw.width, draw.top + draw.height)
    view = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    if draw.flip:
        view = ImageOps.mirror(view)
    for name, factor in draw.jitter:
        view = plain_jitter(view, name, factor)
    if draw.gray:
        view = view.convert('L').convert('RGB')
    if draw.blur_radius is not None:
        view = view.filter(ImageFilter.GaussianBlur(draw.blur_radius))
    if draw.solarize:
        values = np.asarray(view)
        view = Image.fromarray(np.where(values < threshold, values, 255 - values))
    return view


def plain_draw(**changes):
    settings = dict(
        top=5, left=7, height=40, width=50, flip=False, jitter=(), gray=False
    )
    return ViewDraw(**{**settings, 'blur_radius': None, 'solarize': False, **changes})


@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(flip=True),
        dict(jitter=(('brightness', 1.3),)),
        dict(jitter=(('contrast', 0.6),)),
        dict(jitter=(('saturation', 1.2),)),
        dict(jitter=(('hue', 0.1),)),
        dict(jitter=(('hue', -0.07), ('contrast', 1.4), ('brightness', 0.7))),
        dict(gray=True),
        dict(blur_radius=1.7),
        dict(solarize=True),
        dict(
            flip=True,
            jitter=(('saturation', 0.8), ('hue', 0.05), ('brightness', 1.2)),
            gray=True,
            blur_radius=0.4,
            solarize=True,
        ),
    ],
)
@pytest.mark.parametrize('size', [24, 96])
def test_operations_equal_plain_pillow(changes, size):
    group = ViewGroup(size=size, augment=dict(solarize_threshold=100))
    image = Image.fromarray(photo())
    draw = plain_draw(**changes)
    made = group.apply(image, draw, InterpolationMode.BICUBIC)
    twin = plain_view(image, draw, size, 100)
    np.testing.assert_array_equal(np.asarray(made), np.asarray(twin))
    if changes:
        unchanged = group.apply(image, plain_draw(), InterpolationMode.BICUBIC)
        assert not np.array_equal(np.asarray(made), np.asarray(unchanged))


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
