"""ZipImages: what it finds in archives, workers, and what it refuses."""

import base64
import copy
import io
import pickle
import zipfile

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader

from esvit_plugin.datasets import TSVDataset, ZipImages, build_tsv_index
from esvit_plugin.datasets.zip_images import MEMBER

PIPELINE = [dict(type='LoadImageFromBytes'), dict(type='PackInputs')]


def png(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, 'PNG')
    return buffer.getvalue()


def pack(path, names, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', method) as archive:
        for i, name in enumerate(names):
            archive.writestr(name, png(i) if '.' in name else b'')
    return str(path)


@pytest.fixture
def archives(tmp_path):
    """Two archives of 4 and 2 images, and what is none in the first."""
    junk = [
        'n1/notes.txt',
        '.top.png',
        'n1/._a.png',
        '__MACOSX/n1/a.png',
        'n1/.x/a.png',
    ]
    names = ['n2/b.png', 'n1/', 'n1/a.JPEG', 'n1/c.PNG', 'n2/a.webp', *junk]
    return [
        pack(tmp_path / 'a.zip', names, zipfile.ZIP_DEFLATED),
        pack(tmp_path / 'b.zip', ['n1/x.png', 'n3/y.png']),
    ]


NAMES = ['n1/a.JPEG', 'n1/c.PNG', 'n2/a.webp', 'n2/b.png']
# The contents of all images, in the order of names.
SEEDS = [2, 3, 4, 0, 0, 1]


def images(dataset):
    return [dataset.get_data_info(i)['img_bytes'] for i in range(len(dataset))]


def expected(seeds=SEEDS):
    return [png(seed) for seed in seeds]


def test_order_and_bytes(archives):
    dataset = ZipImages(archives)
    assert len(dataset) == 6 and images(dataset) == expected()
    paths = [dataset.get_data_info(i)['img_path'] for i in range(4)]
    assert paths == [f'{archives[0]}/{name}' for name in NAMES]
    info = dataset.get_data_info(5)
    assert info['img_path'] == f'{archives[1]}/n3/y.png' and info['sample_idx'] == 5
    assert 'gt_label' not in info and 'img_error' not in info


def test_an_archive_after_other_content(tmp_path):
    """As self-extracting ones are: offsets count from the archive's own beginning."""
    path = pack(tmp_path / 'a.zip', ['n1/a.png', 'n1/b.png'])
    (tmp_path / 'b.zip').write_bytes(b'#!/bin/sh\n' + (tmp_path / 'a.zip').read_bytes())
    assert images(ZipImages(str(tmp_path / 'b.zip'))) == images(ZipImages(path))


def test_pipelines(archives, tmp_path):
    dataset = DATASETS.build(
        dict(
            type='ZipImages',
            data_root=str(tmp_path),
            zip_file='b.zip',
            pipeline=[
                dict(type='LoadImageFromBytes', on_error='skip'),
                dict(type='MultiCrop'),
                dict(type='PackInputs'),
            ],
        )
    )
    assert [tuple(views.shape) for views in dataset[1]['inputs']] == [
        (2, 3, 224, 224),
        (8, 3, 96, 96),
    ]
    loaded = ZipImages(archives, pipeline=PIPELINE[:1])[0]
    wanted = np.asarray(Image.open(io.BytesIO(png(2))))[..., ::-1]
    np.testing.assert_array_equal(loaded['img'], wanted)


def test_labels(archives):
    dataset = ZipImages(archives, with_label=True, pipeline=PIPELINE)
    assert dataset.CLASSES == ('n1', 'n2', 'n3')
    assert dataset.get_gt_labels().tolist() == [0, 0, 1, 1, 0, 2]
    assert dataset.get_cat_ids(5) == [2]
    assert dataset[2]['data_samples'].gt_label.tolist() == [1]
    subset = dataset.get_subset([5, 0])
    assert subset.get_gt_labels().tolist() == [2, 0]
    named = ZipImages(archives, with_label=True, classes=['n3', 'n2', 'n1', 'n0'])
    assert named.get_gt_labels().tolist() == [2, 2, 1, 1, 2, 0]
    assert len(named.CLASSES) == 4


def test_labels_below_a_common_folder(tmp_path):
    path = pack(tmp_path / 'a.zip', ['train/n2/a.png', 'train/n1/b.png'])
    dataset = ZipImages(path, with_label=True)
    assert dataset.CLASSES == ('train/n1', 'train/n2')
    dataset = ZipImages(path, with_label=True, classes=['n2', 'n1'])
    assert dataset.get_gt_labels().tolist() == [1, 0]


@pytest.mark.slow
def test_members_are_small(tmp_path):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for i in range(20_000):
            archive.writestr(zipfile.ZipInfo(f'n{i % 7}/{i:06d}.png'), b'')
    dataset = ZipImages(str(path), with_label=True)
    assert dataset.members.dtype == MEMBER and MEMBER.itemsize == 30
    assert dataset.paths.ends.nbytes == 8 * 20_000
    assert dataset.paths.content.nbytes == len('n0/000000.png') * 20_000
    # At 200,000 images this is 11 MB.
    assert len(pickle.dumps(dataset)) < 60 * 20_000


def read(dataset, **options):
    loader = DataLoader(dataset, 2, collate_fn=pseudo_collate, **options)
    epochs = [list(loader) for _ in range(2)]
    for epoch in epochs:
        yield [x.numpy().tolist() for batch in epoch for x in batch['inputs']]


@pytest.mark.parametrize('persistent_workers', [False, True])
def test_workers_read_the_same(archives, persistent_workers):
    dataset = ZipImages(archives, pipeline=PIPELINE)
    wanted, _ = read(dataset)
    options = dict(num_workers=2, persistent_workers=persistent_workers)
    forked = read(dataset, multiprocessing_context='fork', **options)
    assert list(forked) == [wanted] * 2


@pytest.mark.slow
def test_spawned_workers_read_the_same(archives, tmp_path):
    """Also from TSV files, in the same workers, since they take long to start."""
    paths = []
    for name in 'ab':
        lines = [b'k\t' + base64.b64encode(png(i)) + b'\n' for i in range(3)]
        (tmp_path / f'{name}.tsv').write_bytes(b''.join(lines))
        paths.append(str(tmp_path / f'{name}.tsv'))
        build_tsv_index(paths[-1], binary=name == 'a')
    dataset = ConcatDataset(
        [ZipImages(archives, pipeline=PIPELINE), TSVDataset(paths, pipeline=PIPELINE)]
    )
    wanted, _ = read(dataset)
    assert len(wanted) == 12 and wanted[6] == wanted[9] == wanted[3]
    options = dict(num_workers=2, persistent_workers=True)
    spawned = read(dataset, multiprocessing_context='spawn', **options)
    assert list(spawned) == [wanted] * 2


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))]
)
def test_copies(archives, copied):
    dataset = ZipImages(archives)
    images(dataset)
    other = copied(dataset)
    assert dataset._files._files and not other._files._files
    assert images(other) == expected()


def refused(pattern, *args, error=ValueError, **kwargs):
    with pytest.raises(error, match=pattern):
        ZipImages(*args, **kwargs)


def test_bad_archives(archives, tmp_path):
    for lazy_init in (False, True):
        missing = dict(error=FileNotFoundError, lazy_init=lazy_init)
        refused(
            'no zip file .*gone.zip', [archives[0], 'gone.zip'], tmp_path, **missing
        )
        refused('data_root.*nowhere', 'a.zip', tmp_path / 'nowhere', **missing)
        refused('zip_file is empty', [], lazy_init=lazy_init)
    cut = tmp_path / 'cut.zip'
    cut.write_bytes((tmp_path / 'a.zip').read_bytes()[:-40])
    refused('cut.zip is no zip file, or not a whole one', str(cut))
    none = pack(tmp_path / 'none.zip', ['notes.txt'])
    refused(r'none.zip holds no image \(looking for .jpg', [archives[0], none])
    assert len(ZipImages(none, extensions=['.TXT'])) == 1
    packed = pack(tmp_path / 'packed.zip', ['n1/a.png'], zipfile.ZIP_BZIP2)
    refused('n1/a.png in .*packed.zip is compressed by method 12', packed)
    flat = pack(tmp_path / 'flat.zip', ['n1/a.png', 'top.png'])
    refused('top.png is in no folder.*with_label=False', flat, with_label=True)
    refused(
        'n3 of .* is none of the 2', archives, with_label=True, classes=['n1', 'n2']
    )
    with pytest.raises(ValueError, match='without labels'):
        ZipImages(archives).get_gt_labels()


def test_archives_that_python_does_not_read(tmp_path, monkeypatch):
    path = tmp_path / 'a.zip'
    pack(path, ['n1/ä.png'])
    good = path.read_bytes()
    path.write_bytes(good.replace('ä'.encode(), b'\xff\xfe'))
    refused('a.zip is no zip file, or not a whole one .*utf-8.*pack it', str(path))
    version = good.rindex(b'PK\x01\x02') + 6
    path.write_bytes(good[:version] + b'\xff' + good[version + 1 :])
    refused(r'a.zip is no zip file.*\(zip file version 25.5\)', str(path))

    def broken(path):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr(zipfile, 'ZipFile', broken)
    refused('Input/output error: .*a.zip', str(path), error=OSError)


def test_files_of_other_types_are_counted(archives, told):
    """Hidden files and folders are not."""
    assert len(ZipImages(archives)) == 6
    (line,) = told
    assert f'ZipImages: 4 images of {archives[0]}; left out 1 files' in line
    assert line.endswith('.txt 1')


def test_encrypted_archive(tmp_path):
    path = pack(tmp_path / 'a.zip', ['n1/a.png'])
    content = bytearray((tmp_path / 'a.zip').read_bytes())
    content[content.rindex(b'PK\x01\x02') + 8] |= 1
    (tmp_path / 'a.zip').write_bytes(content)
    refused(r'a.zip is encrypted \(n1/a.png\)', path)


DAMAGE = {
    'header': (zipfile.ZIP_STORED, 0, 'no member begins at byte'),
    'stored': (zipfile.ZIP_STORED, 200, 'its checksum is wrong'),
    'deflated': (zipfile.ZIP_DEFLATED, 60, 'it cannot be unpacked|checksum|bytes'),
}


@pytest.mark.parametrize('name', DAMAGE)
def test_corrupt_members(tmp_path, name):
    method, position, problem = DAMAGE[name]
    path = pack(tmp_path / 'a.zip', ['n1/a.png', 'n1/b.png', 'n1/c.png'], method)
    dataset = ZipImages(path, pipeline=PIPELINE)
    content = bytearray((tmp_path / 'a.zip').read_bytes())
    start = int(dataset.members['offset'][1]) + position
    content[start : start + 4] = bytes(255 - x for x in content[start : start + 4])
    (tmp_path / 'a.zip').write_bytes(content)
    with pytest.raises(OSError, match=f'a.zip/n1/b.png: .*corrupt: .*({problem})'):
        dataset[1]
    dataset[0], dataset[2]
    skipping = [dict(type='LoadImageFromBytes', on_error='skip')]
    assert 'b.png' not in ZipImages(path, pipeline=skipping)[1]['img_path']


def test_archive_that_shrank(archives, tmp_path):
    dataset = ZipImages(archives, pipeline=PIPELINE)
    path = tmp_path / 'b.zip'
    path.write_bytes(path.read_bytes()[: int(dataset.members['offset'][5]) + 100])
    with pytest.raises(OSError, match='n3/y.png: .*has 62 instead of 1044 bytes'):
        dataset[5]
