"""OpenImages: which images its lists name, in little memory."""

import pickle

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from esvit_plugin.datasets import OpenImages
from esvit_plugin.datasets.array_dataset import PackedStrings
from esvit_plugin.engine.configs import load_config

BOXABLE = 'train-images-boxable-with-rotation.csv'
ALL = 'image_ids_and_rotation.csv'
HEADER = 'ImageID,Subset,OriginalURL,Title,Rotation\n'


def row(image, subset='train', title='"a ""title"", quoted"'):
    return f'{image},{subset},https://example.org/x.jpg,{title},0.0\n'


@pytest.fixture
def root(tmp_path):
    for split, names in dict(train='cab', validation='v').items():
        (tmp_path / split).mkdir()
        for i, name in enumerate(names):
            Image.new('RGB', (20 + i, 16)).save(tmp_path / split / f'{name * 16}.jpg')
    rows = [row('c' * 16), row('v' * 16, 'validation'), row('a' * 16), row('b' * 16)]
    (tmp_path / ALL).write_text(HEADER + ''.join(rows))
    return tmp_path


def names(dataset):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return ''.join(path[-5] for path in paths)


def test_order_and_splits(root):
    dataset = OpenImages(root)
    assert names(dataset) == 'cab'
    info = dict(img_path=str(root / 'train' / f'{"b" * 16}.jpg'), sample_idx=2)
    assert dataset.get_data_info(2) == info
    assert names(OpenImages(root, split='validation')) == 'v'
    assert f'Root of dataset: \t{root}' in repr(dataset)


def test_lists(root):
    (root / BOXABLE).write_text(
        '\ufeff' + HEADER + row('b' * 16) + '\n' + row('c' * 16)
    )
    assert names(OpenImages(root)) == 'bc'
    assert names(OpenImages(root, ann_file=[ALL, BOXABLE])) == 'cabbc'
    (root / 'ids.csv').write_text('Rotation,ImageID\n0,' + 'a' * 16)
    assert names(OpenImages(root, ann_file='ids.csv')) == 'a'
    assert names(OpenImages(root, ann_file=str(root / 'ids.csv'))) == 'a'
    (root / 'train').rename(root / 'images')
    assert names(OpenImages(root, data_prefix='images')) == 'bc'


def test_subsets(root):
    assert names(OpenImages(root, indices=-2)) == 'ab'
    dataset = OpenImages(root, lazy_init=True)
    assert names(dataset.get_subset([2, 0])) == 'bc' and len(dataset) == 3


@pytest.mark.parametrize('num_workers', [0, 2])
def test_loads_through_a_pipeline(root, num_workers):
    (root / 'train' / f'{"a" * 16}.jpg').unlink()
    dataset = DATASETS.build(
        dict(
            type='OpenImages',
            data_root=str(root),
            indices=[0, 2],
            pipeline=[dict(type='LoadImage'), dict(type='PackInputs')],
        )
    )
    loader = DataLoader(dataset, 2, num_workers=num_workers, collate_fn=pseudo_collate)
    (batch,) = loader
    assert [x.shape[-1] for x in batch['inputs']] == [20, 22]


@pytest.mark.slow
def test_two_hundred_thousand_images_take_little(root):
    with open(root / ALL, 'a') as file:
        file.writelines(row(f'{i:016x}') for i in range(200_000))
    dataset = OpenImages(root)
    assert len(dataset) == 200_003 and isinstance(dataset.rows, range)
    assert dataset.ids.content.dtype == np.uint8 and dataset.ids.ends.dtype == np.int64
    assert dataset.ids.content.nbytes + dataset.ids.ends.nbytes == 24 * 200_003
    assert not dataset.data_list and len(pickle.dumps(dataset)) < 25 * 200_003
    copied = pickle.loads(pickle.dumps(dataset))
    assert copied.get_data_info(200_002)['img_path'].endswith(f'/{199_999:016x}.jpg')


def test_packed_strings():
    strings = ['', 'a', 'zwölf', '', 'nul\0']
    packed = PackedStrings(iter(strings))
    assert [packed[i] for i in range(len(packed))] == strings
    assert len(PackedStrings([])) == 0


REMEDY = '--cfg-options data_root=/path/to/images'


@pytest.mark.parametrize('lazy_init', [False, True])
@pytest.mark.parametrize(
    'data_root, error, words',
    [
        (None, ValueError, ['data_root', 'None']),
        ('', ValueError, ['data_root', "''"]),
        (3, TypeError, ['data_root', '3']),
        ('nowhere', FileNotFoundError, ['nowhere', 'does not exist']),
        (ALL, NotADirectoryError, [ALL, 'is a file']),
        ('train', FileNotFoundError, [BOXABLE, ALL, 'ann_file']),
    ],
)
def test_bad_roots(root, monkeypatch, data_root, error, words, lazy_init):
    monkeypatch.chdir(root)
    with pytest.raises(error) as caught:
        OpenImages(data_root, lazy_init=lazy_init)
    assert all(word in str(caught.value) for word in [*words, REMEDY])


def refused(root, pattern, error=ValueError, **options):
    with pytest.raises(error, match=pattern):
        OpenImages(root, **options)


def test_bad_options(root):
    refused(root, "one of train, validation, test, got 'val'", split='val')
    missing = dict(error=FileNotFoundError, lazy_init=True)
    refused(root, 'no list of images .*gone.csv', ann_file='gone.csv', **missing)
    refused(root, 'folder of images .*/test does not exist', split='test', **missing)


@pytest.mark.parametrize(
    'content, pattern',
    [
        ('', 'no column ImageID in line 1'),
        ('a,b\n', r"no column ImageID in line 1, but \['a', 'b'\]"),
        (HEADER, "names no image of the split 'train'"),
        (HEADER + row('x', 'test'), "names no image of the split 'train'"),
        (HEADER + row('c' * 16) + 'b\n', r'list.csv, line 3 lacks .*Subset'),
        (HEADER + row('c' * 16) + row(''), r'list.csv, line 3 lacks an ImageID'),
        (
            HEADER + row('c', title='x' * 200_000),
            'list.csv is no CSV near line 2: field',
        ),
    ],
)
def test_bad_lists(root, content, pattern):
    (root / 'list.csv').write_text(content)
    refused(root, pattern, ann_file='list.csv')


def test_lists_of_other_images(root):
    (root / ALL).write_text(HEADER + row('d' * 16) * 50)
    refused(root, f'None of 20 images .*{"d" * 16}.jpg', FileNotFoundError)
    # One that is there is enough: others may be missing.
    (root / ALL).write_text(HEADER + row('d' * 16) * 50 + row('a' * 16))
    assert len(OpenImages(root)) == 51


def test_config(root, request):
    (root / 'train-balanced.txt').write_text(f'{"b" * 16}\n{"c" * 16}\n')
    path = request.config.rootpath / 'configs/esvit_swin_t_view_openimages.py'
    cfg = load_config(str(path), dict(data_root=str(root)))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert names(dataset) == 'cb'
    assert [tuple(views.shape) for views in dataset[1]['inputs']] == [
        (2, 3, 224, 224),
        (8, 3, 96, 96),
    ]
    assert cfg.knn_dataloader.dataset.data_root == 'data/imagenet/'
