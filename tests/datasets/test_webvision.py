"""WebVision: its lists, labels and splits, and what it refuses."""

import pickle

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from esvit_plugin.datasets import WebVision
from esvit_plugin.engine.configs import load_config

LISTS = {
    'train_filelist_google': ['google/q2/b.jpg 7', 'google/q1/a b.jpg 0'],
    'train_filelist_flickr': ['flickr/q1/c.jpg 999'],
    'val_filelist': ['val000002.jpg 3', 'val000001.jpg 4'],
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'info').mkdir()
    for name, lines in LISTS.items():
        (tmp_path / f'info/{name}.txt').write_text('\n'.join(lines) + '\n\n')
        for i, line in enumerate(lines):
            image = line.rpartition(' ')[0]
            folder = 'val_images_256/' if name == 'val_filelist' else ''
            path = tmp_path / folder / image
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (20 + i, 16)).save(path)
    return tmp_path


def records(dataset, root):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    paths = [info['img_path'].replace(f'{root}/', '') for info in infos]
    return [f'{p} {info["gt_label"]}' for p, info in zip(paths, infos)]


GOOGLE, FLICKR, VAL = LISTS.values()


def test_order_and_labels(root):
    dataset = WebVision(root)
    assert records(dataset, root) == GOOGLE + FLICKR
    assert dataset.get_gt_labels().tolist() == [7, 0, 999]
    assert dataset.get_cat_ids(-1) == [999]
    assert dataset.get_data_info(-1)['sample_idx'] == 2
    sources = WebVision(root, sources=('flickr', 'google'))
    assert records(sources, root) == FLICKR + GOOGLE
    assert records(WebVision(str(root), sources='google'), root) == GOOGLE
    assert records(WebVision(root, indices=[2, 0]), root) == [FLICKR[0], GOOGLE[0]]


def test_validation(root):
    dataset = WebVision(root, split='val')
    assert records(dataset, root) == [f'val_images_256/{line}' for line in VAL]
    (root / 'val_images_256').rename(root / 'val_images')
    dataset = WebVision(root, split='val')
    assert records(dataset, root) == [f'val_images/{line}' for line in VAL]
    (root / 'val_images').rename(root / 'other')
    dataset = WebVision(root, split='val', data_prefix='other')
    assert records(dataset, root) == [f'other/{line}' for line in VAL]


def test_without_labels(root):
    dataset = WebVision(root, with_label=False)
    assert 'gt_label' not in dataset.get_data_info(0)
    with pytest.raises(ValueError, match='without labels'):
        dataset.get_gt_labels()


def test_images_in_another_folder(root):
    (root / 'resized').mkdir()
    for name in ('google', 'flickr'):
        (root / name).rename(root / 'resized' / name)
    dataset = WebVision(root, data_prefix='resized')
    assert records(dataset, root) == [f'resized/{line}' for line in GOOGLE + FLICKR]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_loads_through_a_pipeline(root, num_workers):
    dataset = DATASETS.build(
        dict(
            type='WebVision',
            data_root=str(root),
            pipeline=[dict(type='LoadImage'), dict(type='PackInputs')],
        )
    )
    loader = DataLoader(dataset, 3, num_workers=num_workers, collate_fn=pseudo_collate)
    (batch,) = loader
    assert [x.shape[-1] for x in batch['inputs']] == [20, 21, 20]
    assert [int(x.gt_label) for x in batch['data_samples']] == [7, 0, 999]


@pytest.mark.slow
def test_two_hundred_thousand_images_take_little(root):
    lines = ''.join(f'google/q2/b.jpg {i % 1000}\n' for i in range(200_000))
    (root / 'info/train_filelist_google.txt').write_text(lines)
    dataset = WebVision(root, sources='google')
    assert dataset.labels.dtype == np.int32 and dataset.paths.ends.dtype == np.int64
    assert dataset.paths.content.nbytes == len('google/q2/b.jpg') * 200_000
    assert len(pickle.dumps(dataset)) < 30 * 200_000
    assert dataset.get_data_info(199_999)['gt_label'] == 999


def refused(root, pattern, error=ValueError, **options):
    with pytest.raises(error, match=pattern):
        WebVision(root, **options)


@pytest.mark.parametrize('lazy_init', [False, True])
def test_bad_options(root, lazy_init):
    lazy = dict(lazy_init=lazy_init)
    missing = dict(error=FileNotFoundError, **lazy)
    refused('', 'WebVision has no data_root.*--cfg-options data_root', **lazy)
    refused(root / 'nowhere', 'data_root .*nowhere does not exist', **missing)
    refused(root, "'train' or 'val', got 'test'", split='test', **lazy)
    refused(root, 'sources are empty', sources=(), **lazy)
    refused(
        root,
        r'train_filelist_bing.txt does not exist \(there are train_filelist_'
        r'flickr.txt, train_filelist_google.txt\).*sources',
        sources=('google', 'bing'),
        **missing,
    )
    refused(root / 'google', 'no lists of training images.*--cfg-options', **missing)
    refused(root, 'no folder of images x in', data_prefix='x', **missing)
    (root / 'val_images_256').rename(root / 'other')
    refused(root, 'val_images_256 or val_images in', split='val', **missing)


def test_a_byte_order_mark_is_no_part_of_a_name(root):
    path = root / 'info/train_filelist_flickr.txt'
    path.write_text('\ufeff' + path.read_text())
    assert records(WebVision(root, sources='flickr'), root) == FLICKR


@pytest.mark.parametrize('line', ['a.jpg', 'a.jpg x', '5', 'a.jpg -1', 'a.jpg 1.0'])
def test_malformed_lines(root, line):
    path = root / 'info/train_filelist_flickr.txt'
    path.write_text(FLICKR[0] + f'\n{line}\n')
    refused(root, f"train_filelist_flickr.txt, line 2 must be .*got '{line}'")


def test_lists_without_images(root):
    path = root / 'info/train_filelist_flickr.txt'
    path.write_text('\n')
    refused(root, 'train_filelist_flickr.txt names no image')
    path.write_text('flickr/gone.jpg 3\n')
    refused(
        root,
        'first image of .*flickr.txt does not exist: .*gone.jpg.*data_root',
        FileNotFoundError,
    )


def test_config(root, request):
    path = request.config.rootpath / 'configs/esvit_swin_t_view_webvision.py'
    cfg = load_config(str(path), dict(data_root=str(root)))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    sample = dataset[1]
    assert [tuple(views.shape) for views in sample['inputs']] == [
        (2, 3, 224, 224),
        (8, 3, 96, 96),
    ]
    assert cfg.knn_dataloader.dataset.data_root == 'data/imagenet/'
