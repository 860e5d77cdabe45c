"""BundledPhotos: crops on the right side of the photographs, no network."""

import socket
import sys

import numpy as np
import pytest
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from esvit_plugin.datasets import PHOTO_NAMES, BundledPhotos, load_photo
from esvit_plugin.datasets import bundled_photos as module

pytest.importorskip('skimage')
pytest.importorskip('sklearn')


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('the network was asked for')

    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture(scope='module')
def splits():
    return {split: BundledPhotos(split) for split in ('train', 'test')}


def test_sizes_and_records(splits):
    assert len(PHOTO_NAMES) == 16
    assert len(splits['train']) == 16 * 96 and len(splits['test']) == 16 * 24
    for dataset in splits.values():
        assert dataset.CLASSES == PHOTO_NAMES
        assert set(np.bincount(dataset.get_gt_labels())) == {len(dataset) // 16}
        record = dataset[12]
        assert record['img'].shape == (64, 64, 3) and record['img'].dtype == np.uint8
        assert record['img_path'] == 'astronaut#12' and record['gt_label'] == 0
        assert dataset[len(dataset) - 1]['gt_label'] == 15


def places(dataset, name):
    """Where the crops of a photograph are, found by looking for them."""
    photo = load_photo(name)[..., ::-1]
    windows = np.lib.stride_tricks.sliding_window_view(photo[..., 0], (8, 8))
    found = []
    for i in range(0, len(dataset), 7):
        record = dataset[i]
        if record['img_path'].split('#')[0] == name:
            corner = record['img'][:8, :8, 0]
            for top, left in np.argwhere((windows == corner).all((2, 3))):
                crop = photo[top : top + 64, left : left + 64]
                if np.array_equal(crop, record['img']):
                    found.append((top, left))
    return np.array(found), photo.shape


@pytest.mark.parametrize('name', ['astronaut', 'coffee', 'rocket'])
def test_splits_do_not_overlap(splits, name):
    train, (height, width, _) = places(splits['train'], name)
    test, _ = places(splits['test'], name)
    assert len(train) >= 13 and len(test) >= 3
    assert (train[:, 1] + 64).max() <= 0.6 * width <= test[:, 1].min()
    assert (test[:, 1] + 64).max() <= width
    assert train[:, 0].min() >= 0 and (train[:, 0] + 64).max() <= height


def test_seed_decides():
    def images(**options):
        dataset = BundledPhotos(num_train=3, **options)
        return np.stack([dataset[i]['img'] for i in range(len(dataset))])

    first = images(seed=0)
    np.testing.assert_array_equal(first, images())
    assert not np.array_equal(first, images(seed=1))


def test_tightest_sizes_fit():
    for split in ('train', 'test'):
        options = dict(crop_size=40, short_side=100, num_train=2, num_test=2)
        dataset = BundledPhotos(split, **options)
        assert len(dataset) == 32 and dataset[31]['img'].shape == (40, 40, 3)


def test_pipeline_into_a_data_loader():
    dataset = DATASETS.build(
        dict(
            type='BundledPhotos',
            num_train=1,
            pipeline=[
                dict(
                    type='MultiCrop',
                    views=[dict(size=32, num_views=2), dict(size=16, num_views=4)],
                ),
                dict(type='PackInputs'),
            ],
        )
    )
    batch = next(iter(DataLoader(dataset, 8, collate_fn=default_collate)))
    shapes = [tuple(views.shape) for views in batch['inputs']]
    assert shapes == [(8, 2, 3, 32, 32), (8, 4, 3, 16, 16)]
    assert [int(s.gt_label) for s in batch['data_samples']] == list(range(8))


@pytest.mark.parametrize('name', PHOTO_NAMES)
def test_load_photo(name):
    photo = load_photo(name, 100)
    assert min(photo.shape[:2]) == 100 and photo.shape[2] == 3
    assert photo.dtype == np.uint8 and photo.std() > 5
    grey = name in ('brick', 'camera', 'coins', 'grass', 'gravel', 'moon')
    assert (photo == photo[..., :1]).all() == grey


def test_load_photo_is_rgb():
    # The astronaut's suit is orange.
    red, _, blue = load_photo('astronaut').reshape(-1, 3).mean(0)
    assert red > blue


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(split='val'), ["'train' or 'test'", "'val'"]),
        (dict(crop_size=0), ['crop_size', '0']),
        (dict(num_test=-1), ['num_test', '-1']),
        (dict(seed=-1), ['seed', '-1']),
        (dict(crop_size=129), ['129', 'at most 128', 'short_side=320']),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError) as caught:
        BundledPhotos(**options)
    assert all(word in str(caught.value) for word in words)


def test_bad_photo():
    with pytest.raises(ValueError, match='tiger.*astronaut.*flower'):
        load_photo('tiger')
    with pytest.raises(ValueError, match='short_side.*0'):
        load_photo('moon', 0)


@pytest.mark.parametrize(
    'package, name, distribution',
    [('skimage', 'moon', 'scikit-image'), ('sklearn', 'china', 'scikit-learn')],
)
def test_missing_packages(monkeypatch, package, name, distribution):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError) as caught:
        load_photo(name)
    assert distribution in str(caught.value)
    assert 'pip install "esvit_plugin[demo]"' in str(caught.value)
    with pytest.raises(ImportError):
        BundledPhotos()


def test_missing_file(monkeypatch):
    entry = ('skimage', 'scikit-image', 'data/gone.png')
    monkeypatch.setitem(module.PHOTO_FILES, 'moon', entry)
    with pytest.raises(FileNotFoundError, match='scikit-image.*gone.png'):
        load_photo('moon')


def test_repr(splits):
    assert 'Split: \ttest' in repr(splits['test'])
