"""Images of every kind on their way into a model."""

import warnings

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from PIL import Image
from support.training import small_model

import esvit_plugin
from esvit_plugin.datasets import ImageFiles
from esvit_plugin.evaluation import FrozenBackbone
from esvit_plugin.models import checks
from esvit_plugin.models.utils import image_size

MEANS = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0], to_rgb=True)


@pytest.fixture
def model():
    return esvit_plugin.get_model(dict(small_model(), data_preprocessor=MEANS))


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(256, size=(90, 120, 3), dtype=np.uint8)


def by_hand(rgb):
    """Normalised (3, H, W) of an RGB array, by the formula."""
    mean, std = np.array(MEANS['mean']), np.array(MEANS['std'])
    return torch.from_numpy(((rgb - mean) / std).transpose(2, 0, 1)).float()


def test_every_kind_gives_the_same(tmp_path, model, photo):
    path = tmp_path / 'photo.png'
    cv2.imwrite(str(path), photo[..., ::-1])
    tensor = torch.from_numpy(photo).permute(2, 0, 1)
    kinds = [path, str(path), Image.fromarray(photo), photo, tensor]
    # As extract_features.py cuts it, to the size of the backbone.
    expected = ImageFiles([str(path)], 64)[0][1].unsqueeze(0)
    expected = model.data_preprocessor(dict(inputs=expected))['inputs']
    for kind in [*kinds, photo[None], tensor[None]]:
        found = esvit_plugin.prepare_images(kind, model)
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
    found = esvit_plugin.prepare_images(kinds, model)
    torch.testing.assert_close(found, expected.expand(5, -1, -1, -1), atol=0, rtol=0)
    batch = esvit_plugin.prepare_images(tensor[None].repeat(2, 1, 1, 1), model, size=32)
    assert batch.shape == (2, 3, 32, 32)
    view, regions = model.encode(found)
    assert view.shape == (5, 128) and regions.shape == (5, 4, 128)


def test_images_may_stay_as_they_are(model, photo):
    found = esvit_plugin.prepare_images([photo], model, resize=False)
    torch.testing.assert_close(found, by_hand(photo)[None])
    with pytest.raises(ValueError, match=r'one size, got .*\(90, 120\).*resize=False'):
        esvit_plugin.prepare_images([photo, photo[:80]], model, resize=False)


def test_other_models_and_none(photo):
    found = esvit_plugin.prepare_images(photo)
    assert found.shape == (1, 3, 224, 224)
    white = esvit_plugin.prepare_images(np.full((8, 8, 3), 255, np.uint8), resize=False)
    expected = torch.tensor([(255 - 123.675) / 58.395, 2.428571, 2.64])
    torch.testing.assert_close(white[0, :, 0, 0], expected)
    for kind in ('SelfSupDataPreprocessor', 'ClsDataPreprocessor'):
        other = torch.nn.Module()
        other.data_preprocessor = MODELS.build(dict(type=kind, **MEANS))
        found = esvit_plugin.prepare_images(photo, other, resize=False)
        torch.testing.assert_close(found, by_hand(photo)[None])


def test_orientation_and_transparency_are_those_of_the_file(tmp_path, model, photo):
    path, exif = str(tmp_path / 'turned.png'), Image.Exif()
    exif[0x0112] = 6
    alpha = np.full((*photo.shape[:2], 1), 128, np.uint8)
    Image.fromarray(np.concatenate([photo, alpha], 2)).save(path, exif=exif)
    found = esvit_plugin.prepare_images(Image.open(path), model)
    torch.testing.assert_close(found, esvit_plugin.prepare_images(path, model))


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ([], 'at least one'),
        (np.zeros((3, 8, 8), np.uint8), r'uint8 and shape \(3, 8, 8\)'),
        (np.zeros((8, 8, 3)), 'float64'),
        (torch.rand(3, 8, 8), 'float32'),
        (torch.zeros(8, 8, dtype=torch.uint8), r'\(8, 8\)'),
        (None, 'got NoneType'),
        (Image.new('I;16', (8, 8)), 'I;16.* path'),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        esvit_plugin.prepare_images(images)


def test_files_that_cannot_be_read_are_named(tmp_path):
    bad = tmp_path / 'bad.png'
    bad.write_bytes(b'no image')
    for path in (bad, tmp_path / 'missing.png'):
        with pytest.raises(OSError, match=f'Cannot load the image {path}: ') as info:
            esvit_plugin.prepare_images([path])
        assert 'train' not in str(info.value)


@pytest.mark.parametrize('frozen', [False, True])
def test_images_that_are_not_normalised(model, photo, frozen):
    if frozen:
        model = FrozenBackbone(model.get_backbone(), model.data_preprocessor)
    calls = [model.extract_feat, model.extract_regions]
    calls += [model.feature_function('last_blocks')] if frozen else [model.encode]
    raw = torch.from_numpy(photo[:64, :64].copy()).permute(2, 0, 1)[None]
    for call in calls:
        with pytest.raises(ValueError, match=r'uint8; esvit_plugin\.prepare_images'):
            call(raw)
        checks._warn_once.cache_clear()
        with pytest.warns(UserWarning, match=r'lie in \[0, 1\].*\.prepare_images') as w:
            call(raw / 255)
            call(raw / 255)
        assert len([one for one in w if one.category is UserWarning]) == 1
    checks._warn_once.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        calls[0](torch.zeros(1, 3, 64, 64))  # to try a model out
        calls[0](esvit_plugin.prepare_images(photo, model))


def test_a_model_may_be_trained_on_images_in_the_unit_range():
    unit = dict(mean=[0.0] * 3, std=[255.0] * 3, to_rgb=True)
    model = esvit_plugin.get_model(dict(small_model(), data_preprocessor=unit))
    checks._warn_once.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model.encode(torch.rand(1, 3, 64, 64))


def test_the_size_is_what_the_backbone_was_made_for():
    vit = dict(type='VisionTransformer', arch='deit-tiny', img_size=(160, 128))
    sizes = {
        128: vit,
        64: small_model()['backbone'],
        224: dict(type='ResNet', depth=18),
    }
    for size, cfg in sizes.items():
        assert image_size(MODELS.build(cfg)) == size
