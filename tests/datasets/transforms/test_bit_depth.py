"""Images with 16 bits per channel: a warning, and the depth of the camera."""

import cv2
import numpy as np
import pytest

from esvit_plugin.datasets import LoadImage, LoadImageFromBytes
from esvit_plugin.datasets.transforms import deep_image


@pytest.fixture(autouse=True)
def not_warned(monkeypatch):
    monkeypatch.setattr(deep_image, '_warned', set())


def camera(bits, channels=3, dtype=np.uint16):
    """A ramp over the full range of a camera."""
    ramp = np.linspace(0, 2**bits - 1, 32 * 40).astype(dtype).reshape(32, 40)
    return ramp if channels == 1 else np.dstack([ramp] * channels)


def encoded(img, ending='.png'):
    return cv2.imencode(ending, img)[1].tobytes()


def load(content, **options):
    results = dict(img_path='camera/7.png', img_bytes=content)
    return LoadImageFromBytes(**options)(results)['img']


@pytest.mark.parametrize('ending', ['.png', '.tiff', '.pnm', '.jp2'])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('bits', [9, 10, 12, 14, 16])
def test_the_full_range_of_a_depth(ending, channels, bits):
    img = camera(bits, channels)
    made = load(encoded(img, ending), bit_depth=bits)
    assert made.dtype == np.uint8 and made.shape == (32, 40, 3)
    wanted = img >> (bits - 8)
    if ending != '.jp2':  # which loses some
        np.testing.assert_array_equal(made[..., 1], wanted.reshape(32, 40, -1)[..., 0])
    assert made.min() <= 1 and made.max() >= 254


def test_other_colours_files_and_floats(tmp_path):
    (tmp_path / 'a.png').write_bytes(encoded(camera(12)))
    options = dict(bit_depth=12, color_type='grayscale', to_float32=True)
    made = LoadImage(**options)(dict(img_path=str(tmp_path / 'a.png')))
    assert made['img'].dtype == np.float32 and made['img_shape'] == (32, 40)
    assert made['img'].max() == 255


@pytest.mark.parametrize('ending', ['.png', '.tiff', '.jpg', '.hdr'])
def test_images_of_8_bits_or_floats_stay(ending):
    img = camera(8, dtype=np.uint8)
    content = encoded(img if ending != '.hdr' else img / np.float32(255), ending)
    wanted = load(content, max_pixels=None)
    np.testing.assert_array_equal(load(content, bit_depth=12, max_pixels=None), wanted)


def test_values_above_the_depth_are_a_bad_file():
    with pytest.raises(
        OSError, match='camera/7.png.*bit_depth=12, up to 16383: .*=14 or'
    ):
        load(encoded(camera(14)), bit_depth=12)
    img = camera(12)
    img[0, :5] = 65535  # dead pixels
    assert (load(encoded(img), bit_depth=12)[0, :5] == 255).all()


@pytest.mark.parametrize('bits', [8, 10, 12, 14])
@pytest.mark.parametrize('ending', ['.png', '.tiff', '.pnm'])
def test_unused_bits_are_warned_of_once(logged, bits, ending):
    for _ in range(2):
        assert load(encoded(camera(bits), ending)).max() <= 64
    (line,) = logged
    for words in ('camera/7.png', str(2**bits - 1), 'black', 'LoadImageFromBytes'):
        assert words in line
    assert f'bit_depth={max(bits, 9)},' in line


@pytest.mark.parametrize('channels', [1, 3])
def test_pillow_is_warned_of_too(logged, channels):
    load(encoded(camera(12, channels)), imdecode_backend='pillow')
    (line,) = logged
    assert ('white' if channels == 1 else 'black') in line
    assert "imdecode_backend='cv2' and bit_depth=12" in line


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_good_images_are_not_warned_of(logged, backend):
    white = np.full((32, 40), 65535, np.uint16)
    for img in (camera(16), white, white * 0, camera(8, dtype=np.uint8) // 9):
        load(encoded(img), imdecode_backend=backend)
    load(encoded(camera(12)), color_type='unchanged')
    assert not logged


def test_the_default_is_that_of_mmcv(tmp_path):
    import mmcv

    for bits in (12, 16):
        content = encoded(camera(bits), '.tiff')
        np.testing.assert_array_equal(load(content), mmcv.imfrombytes(content))


def test_bad_depths():
    for value in (8, 17, '12', 12.5):
        with pytest.raises(
            ValueError, match=f"LoadImage's bit_depth.*9 to 16.*{value}"
        ):
            LoadImage(bit_depth=value)
    for options in (dict(imdecode_backend='pillow'), dict(color_type='unchanged')):
        with pytest.raises(ValueError, match="bit_depth needs imdecode_backend='cv2'"):
            LoadImage(bit_depth=12, **options)
