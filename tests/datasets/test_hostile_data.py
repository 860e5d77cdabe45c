"""Lists and archives that reach for files outside their folder, or for memory."""

import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from support import made_up_transfer

from esvit_plugin.datasets import (
    GTSRB,
    HatefulMemes,
    LoadImageFromBytes,
    OpenImages,
    PatchCamelyon,
    TSVDataset,
    UCF101Frames,
    UnlabeledFolder,
    WebVision,
    ZipImages,
    build_tsv_index,
)

ESCAPES = ['../secret', '/etc/secret', 'a/../../secret']


@pytest.fixture
def root(tmp_path):
    """A folder with a secret beside it."""
    root = tmp_path / 'data'
    root.mkdir()
    for name in ('secret.jpg', 'data/a.jpg'):
        Image.new('RGB', (8, 8)).save(tmp_path / name)
    return root


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def web_vision(root, name):
    write(root / 'info/train_filelist_x.txt', f'a.jpg 0\n{name}.jpg 1\n')
    return WebVision(root, sources='x')


def open_images(root, name):
    (root / 'train').mkdir()
    write(root / 'list.csv', f'ImageID\n{name}\n')
    return OpenImages(root, ann_file='list.csv')


def gtsrb(root, name):
    made_up_transfer.gtsrb(root)
    write(root / 'GT-final_test.csv', f'Filename;ClassId\n{name}.jpg;1\n')
    return GTSRB(root, split='test')


def ucf101(root, name):
    made_up_transfer.ucf101(root)
    lists = root / 'ucfTrainTestlist'
    action, _, video = f'{name}.avi'.partition('/')
    write(lists / 'classInd.txt', f'1 {action}\n' if action else '1 x\n2 y\n')
    line = f'{action}/{video}' if action else f'x/{name}.avi'
    write(lists / 'trainlist01.txt', f'{line} 1\n')
    return UCF101Frames(root)


def memes(root, name):
    write(root / 'train.jsonl', json.dumps(dict(img=f'{name}.jpg', label=1)))
    return HatefulMemes(root)


def zip_images(root, name):
    with zipfile.ZipFile(root / 'a.zip', 'w') as archive:
        archive.writestr(f'{name}.jpg', b'x')
    return ZipImages('a.zip', root)


def folder(root, name):
    write(root / 'list.txt', f'a.jpg\n{name}.jpg\n')
    return UnlabeledFolder(root, ann_file='list.txt')


@pytest.mark.parametrize(
    'make', [web_vision, open_images, gtsrb, ucf101, memes, zip_images, folder]
)
@pytest.mark.parametrize('name', ESCAPES)
def test_names_that_leave_the_folder(root, make, name):
    if make is folder and name.startswith('/'):
        # The user's own list may say so, as for mmpretrain's data sets.
        assert folder(root, name).get_data_info(1)['img_path'] == f'{name}.jpg'
        return
    with pytest.raises(ValueError, match='leads out of the folder') as caught:
        make(root, name)
    assert 'secret' in str(caught.value) and '\n' not in str(caught.value)


def test_harmless_names_with_dots(root):
    assert folder(root, 'b/../a').get_data_info(1)['img_path'].endswith('b/../a.jpg')


@pytest.mark.parametrize('content', ['[' * 100_000, '{"img": ' * 50_000])
def test_json_without_end(root, content):
    write(root / 'train.jsonl', content)
    with pytest.raises(ValueError, match='line 1 must be JSON'):
        HatefulMemes(root)
    (root / 'a.tsv').write_text(f'key\t{content}\taGFsbG8=\n')
    build_tsv_index(str(root / 'a.tsv'))
    dataset = TSVDataset('a.tsv', root, label_column=1)
    with pytest.raises(ValueError, match="is no JSON with a 'class'"):
        dataset.get_data_info(0)


PAYLOAD = "__import__('os').mkdir('{}')"


def test_columns_are_not_run(root):
    """Text is compared and parsed as numbers or JSON, never as Python."""
    made = root / 'made'
    text = PAYLOAD.format(made)
    (root / 'a.tsv').write_text(f'{text}\t{text}\taGFsbG8=\n')
    build_tsv_index(str(root / 'a.tsv'))
    with pytest.raises(ValueError, match='label'):
        TSVDataset('a.tsv', root, label_column=1).get_data_info(0)
    for make in (gtsrb, memes, web_vision):
        make(root, text)
    for name, line in (
        ('train.jsonl', f'{{"img": "a", "label": {text}}}'),
        ('fer2013.csv', f'emotion,pixels,Usage\n"{text}",1,Training'),
    ):
        write(root / name, line)
    with pytest.raises(ValueError):
        HatefulMemes(root)
    assert not made.exists()


# ------------------------------------------------------------------------- archives


def deflated(content, declared, name='n/a.png'):
    """A zip file of one image that states another size than it has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    packed = bytearray(buffer.getvalue())
    for signature, place in ((b'PK\3\4', 22), (b'PK\1\2', 24)):
        struct.pack_into('<I', packed, packed.rindex(signature) + place, declared)
    return bytes(packed)


@pytest.mark.parametrize(
    ('declared', 'problem'),
    [
        (1000, 'has more instead of 1000 bytes'),
        (2**32 - 2, 'states 4294967294 bytes.*more than the 1073741824'),
        (2**30, 'has 67108864 instead of 1073741824 bytes'),
    ],
)
def test_zip_bombs(root, request, declared, problem):
    # Not all of 64 MiB of zeros when the archive says 1000 bytes.
    (root / 'a.zip').write_bytes(deflated(bytes(1 << 26), declared))
    dataset = ZipImages('a.zip', root)
    request.addfinalizer(tracemalloc.stop)
    tracemalloc.start()
    record = dataset.get_data_info(0)
    peak = tracemalloc.get_traced_memory()[1]
    assert peak < (2**20 if declared < 2**30 or declared > 2**31 else 2**28)
    with pytest.raises(OSError, match=f'corrupt: it {problem}'):
        LoadImageFromBytes()(record)


def test_zip64_of_impossible_size(root):
    name = b'n/a.png'
    extra = struct.pack('<HHQQ', 1, 16, 2**64 - 1, 2**63)
    head = struct.pack('<HHHHHIIIHH', 45, 0, 0, 0, 0, 0, *[2**32 - 1] * 2, 7, 20)
    local = b'PK\3\4' + head + name + extra
    central = b'PK\1\2' + struct.pack('<H', 45) + head + bytes(14) + name + extra
    end = struct.pack('<HHHHIIH', 0, 0, 1, 1, len(central), len(local), 0)
    (root / 'a.zip').write_bytes(local + central + b'PK\5\6' + end)
    with pytest.raises(ValueError, match='n/a.png in .*a.zip states an impossible'):
        ZipImages('a.zip', root)


def test_crc_of_a_good_member_still_counts(root):
    content = bytes(range(256))
    (root / 'a.zip').write_bytes(deflated(content, 256))
    record = ZipImages('a.zip', root).get_data_info(0)
    assert zlib.crc32(record['img_bytes']) == zlib.crc32(content)


@pytest.mark.parametrize('way', ['link', 'soft', 'raw', 'virtual', 'group'])
def test_hdf5_that_reads_other_files(root, way):
    h5py = pytest.importorskip('h5py')
    made_up_transfer.patch_camelyon(root)
    path = root / 'camelyonpatch_level_2_split_train_x.h5'
    secret = root.parent / 'secret.h5'
    os.rename(path, secret)
    shape = 4, 96, 96, 3
    np.zeros(shape, np.uint8).tofile(root.parent / 'secret.bin')
    with h5py.File(path, 'w') as file:
        if way in ('link', 'soft'):
            name = 'y' if way == 'soft' else 'x'
            file[name] = h5py.ExternalLink(str(secret), 'x')
            if way == 'soft':
                file['x'] = h5py.SoftLink('/y')
        elif way == 'raw':
            outside = [(str(root.parent / 'secret.bin'), 0, 4 * 96 * 96 * 3)]
            file.create_dataset('x', shape, 'u1', external=outside)
        elif way == 'virtual':
            layout = h5py.VirtualLayout(shape, 'u1')
            layout[:] = h5py.VirtualSource(str(secret), 'x', shape)
            file.create_virtual_dataset('x', layout)
        else:
            file.create_group('x')
    problem = "no array 'x'" if way == 'group' else "'x' of .* lies in other files"
    with pytest.raises(ValueError, match=problem):
        PatchCamelyon(str(root))
