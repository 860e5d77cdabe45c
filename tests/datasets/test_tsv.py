"""TSVDataset: random access to lines, labels, workers, and what it refuses."""

import base64
import copy
import io
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmpretrain.registry import DATASETS
from PIL import Image
from support.paths import ROOT
from torch.utils.data import DataLoader

from esvit_plugin.datasets import TSVDataset, build_tsv_index
from esvit_plugin.datasets.tsv_file import TSVFile, read_tsv_index

PIPELINE = [dict(type='LoadImageFromBytes'), dict(type='PackInputs')]
TOOL = ROOT / 'tools/dataset_converters/tsv_index.py'
NAMES = ['cat', 'dog']


def jpeg(seed, side=24):
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, 'JPEG')
    return buffer.getvalue()


def write(path, rows, index=True):
    lines = [
        b'\t'.join(x if isinstance(x, bytes) else str(x).encode() for x in row)
        for row in rows
    ]
    path.write_bytes(b''.join(line + b'\n' for line in lines))
    if index:
        build_tsv_index(str(path))
    return str(path)


def encoded(seed, **options):
    return base64.b64encode(jpeg(seed, **options))


@pytest.fixture
def files(tmp_path):
    """Two files with 5 and 4 images, the third of them longer than one read."""
    sides = {2: 700}
    first = [(f'a{i}', encoded(i, side=sides.get(i, 24))) for i in range(5)]
    assert len(first[2][1]) > 1 << 18
    second = [(f'b{i}', encoded(10 + i)) for i in range(4)]
    return [write(tmp_path / 'a.tsv', first), write(tmp_path / 'b.tsv', second)]


SEEDS = [0, 1, 2, 3, 4, 10, 11, 12, 13]


def images(dataset):
    return [dataset.get_data_info(i)['img_bytes'] for i in range(len(dataset))]


def expected(seeds=SEEDS):
    return [jpeg(seed, 700 if seed == 2 else 24) for seed in seeds]


def test_order_and_bytes(files):
    dataset = TSVDataset(files)
    assert len(dataset) == 9 and images(dataset) == expected()
    info = dataset.get_data_info(-4)
    assert info['img_key'] == 'b0' and info['sample_idx'] == 5
    assert info['img_path'] == f'{files[1]}, line 1, offset 0'
    assert 'gt_label' not in info and 'img_error' not in info
    with pytest.raises(IndexError):
        dataset.get_data_info(9)


def test_pipelines(files, tmp_path):
    dataset = DATASETS.build(
        dict(
            type='TSVDataset',
            data_root=str(tmp_path),
            tsv_file=['b.tsv', 'a.tsv'],
            pipeline=[
                dict(type='LoadImageFromBytes', on_error='skip'),
                dict(type='MultiCrop'),
                dict(type='PackInputs'),
            ],
        )
    )
    shapes = [tuple(views.shape) for views in dataset[0]['inputs']]
    assert shapes == [(2, 3, 224, 224), (8, 3, 96, 96)]
    loaded = TSVDataset(files[0], pipeline=PIPELINE[:1])[1]
    wanted = np.asarray(Image.open(io.BytesIO(jpeg(1))))[..., ::-1]
    assert np.abs(loaded['img'].astype(int) - wanted).max() <= 2
    assert loaded['img_shape'] == loaded['ori_shape'] == (24, 24)


def test_subsets(files):
    dataset = TSVDataset(files)
    assert images(TSVDataset(files, indices=3)) == expected()[:3]
    assert images(TSVDataset(files, indices=[7, 0])) == expected([12, 0])
    assert images(dataset.get_subset(-2)) == expected()[-2:]
    assert images(dataset.get_subset(7).get_subset([6, 5])) == expected([11, 10])
    assert len(dataset) == 9
    dataset.get_subset_([8, 8])
    assert images(dataset) == expected([13, 13])
    lazy = TSVDataset(files, lazy_init=True)
    assert len(lazy) == 9


@pytest.mark.parametrize('binary', [False, True])
def test_index(files, tmp_path, binary):
    path, content = tmp_path / 'a.tsv', (tmp_path / 'a.tsv').read_bytes()
    wanted = [0, *(i + 1 for i, x in enumerate(content[:-1]) if x == ord('\n'))]
    built = build_tsv_index(str(path), binary, force=True)
    assert built == str(tmp_path / ('a.lineidx.8b' if binary else 'a.lineidx'))
    index = read_tsv_index(built)
    assert index.tolist() == wanted and index.dtype == np.int64
    assert isinstance(index, np.memmap) == binary
    names = {'a.tsv', 'b.tsv', 'b.lineidx', Path(built).name}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert images(TSVDataset(files)) == expected()
    Path(built).write_bytes(b'kept')
    assert build_tsv_index(str(path), not binary) == built
    assert Path(built).read_bytes() == b'kept'


def test_index_without_last_newline_and_with_cr(tmp_path):
    path = tmp_path / 'a.tsv'
    lines = [b'a\t' + encoded(0), b'b\t' + encoded(1)]
    path.write_bytes(b'\r\n'.join(lines))
    (tmp_path / 'a.lineidx').write_text(f'0\r\n{len(lines[0]) + 2}\r\n')
    assert images(TSVDataset(str(path))) == expected([0, 1])
    index = read_tsv_index(build_tsv_index(str(path), force=True))
    assert index.tolist() == [0, len(lines[0]) + 2]


def test_large_index_is_small(tmp_path):
    path = tmp_path / 'a.tsv'
    line = b'k\t' + base64.b64encode(b'x') + b'\n'
    path.write_bytes(line * 200_000)
    for binary in (False, True):
        build_tsv_index(str(path), binary, force=True)
        dataset = TSVDataset(str(path))
        offsets = dataset.files[0].offsets
        assert len(dataset) == 200_000 and isinstance(dataset.rows, range)
        assert offsets.dtype == np.int64 and offsets.nbytes == 8 * 200_000
        assert len(pickle.dumps(dataset)) < (10_000 if binary else 1_700_000)
    assert dataset.get_data_info(199_999)['img_bytes'] == b'x'


def test_index_may_select_lines(files, tmp_path):
    offsets = read_tsv_index(files[0][:-3] + 'lineidx')
    chosen = tmp_path / 'chosen.lineidx'
    chosen.write_text('\n'.join(str(offsets[i]) for i in (3, 1, 2, 3)))
    dataset = TSVDataset('a.tsv', tmp_path, lineidx='chosen.lineidx')
    assert images(dataset) == expected([3, 1, 2, 3])
    assert 'entry 2' in dataset.get_data_info(1)['img_path']


def test_labels_in_a_column(tmp_path):
    rows = [('a', 1, encoded(0)), ('b', 0, encoded(1)), ('c', 7, encoded(2))]
    path = write(tmp_path / 'a.tsv', rows)
    dataset = TSVDataset(path, label_column=1, pipeline=PIPELINE)
    assert [dataset.get_data_info(i)['gt_label'] for i in range(3)] == [1, 0, 7]
    assert dataset.get_gt_labels().tolist() == [1, 0, 7]
    assert dataset.get_cat_ids(2) == [7] and dataset.CLASSES is None
    assert dataset[2]['data_samples'].gt_label.tolist() == [7]
    with pytest.raises(ValueError, match='without label'):
        TSVDataset(path).get_gt_labels()


@pytest.mark.parametrize('label_map', ['cat\ndog\n', 'dog\t1\ncat\t0\n'])
def test_labels_by_name(tmp_path, label_map):
    (tmp_path / 'map.txt').write_text(label_map)
    labels = ['dog', '[{"class": "cat"}, {"class": "dog"}]', '{"class": "dog"}']
    rows = [('k', encoded(i), label) for i, label in enumerate(labels)]
    write(tmp_path / 'a.tsv', rows)
    dataset = TSVDataset(
        'a.tsv', tmp_path, image_column=1, label_column=-1, label_map='map.txt'
    )
    assert dataset.get_gt_labels().tolist() == [1, 0, 1]
    assert images(dataset) == expected([0, 1])[:2] + [jpeg(2)]
    assert list(dataset.CLASSES) == NAMES


def test_labels_in_their_own_files(files, tmp_path):
    write(tmp_path / 'la.tsv', [(f'a{i}', i) for i in range(5)])
    write(tmp_path / 'lb.tsv', [(f'b{i}', f'[{{"class": {i}}}]') for i in range(4)])
    dataset = TSVDataset(files, tmp_path, label_file=['la.tsv', 'lb.tsv'])
    assert dataset.get_gt_labels().tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert dataset.get_data_info(6)['gt_label'] == 1
    write(tmp_path / 'lc.tsv', [(f'a{i}', i) for i in (0, 2, 1, 3, 4)])
    dataset = TSVDataset(files[0], label_file=str(tmp_path / 'lc.tsv'))
    with pytest.raises(ValueError, match=r"lc.tsv, line 2.*'a2'.*a.tsv has b'a1'"):
        dataset.get_data_info(1)
    with pytest.raises(ValueError, match='lb.tsv has 4 labels for 5 images'):
        TSVDataset(files[0], label_file=str(tmp_path / 'lb.tsv'))


def read(dataset, **options):
    loader = DataLoader(dataset, 2, collate_fn=pseudo_collate, **options)
    epochs = [list(loader) for _ in range(2)]
    for epoch in epochs:
        yield [x.numpy().tolist() for batch in epoch for x in batch['inputs']]


@pytest.mark.parametrize('binary', [False, True])
def test_workers_read_the_same(files, tmp_path, binary):
    build_tsv_index(files[0], binary, force=True)
    dataset = TSVDataset(files, pipeline=PIPELINE)
    wanted, _ = read(dataset)
    # The handles that are open by now are those of this process alone.
    assert dataset.files[0]._files._files
    options = dict(num_workers=2, persistent_workers=binary)
    forked = read(dataset, multiprocessing_context='fork', **options)
    assert list(forked) == [wanted] * 2


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies(files, copied):
    build_tsv_index(files[0], binary=True, force=True)
    dataset = TSVDataset(files)
    images(dataset)
    other = copied(dataset)
    assert not other.files[0]._files._files and other.files[0]._offsets is None
    assert images(other) == expected()


def refused(pattern, *args, error=ValueError, **kwargs):
    with pytest.raises(error, match=pattern):
        TSVDataset(*args, **kwargs)


def test_missing_files(files, tmp_path):
    gone = str(tmp_path / 'gone.tsv')
    for lazy_init in (False, True):
        missing = dict(error=FileNotFoundError, lazy_init=lazy_init)
        refused('no TSV file .*gone.tsv', [files[0], gone], **missing)
        refused(
            'no label map .*gone', files[0], label_map='gone', label_column=1, **missing
        )
        refused('no TSV file .*gone.tsv', files[0], label_file=gone, **missing)
        refused(
            'gone.lineidx', files[0], lineidx=str(tmp_path / 'gone.lineidx'), **missing
        )
        refused('data_root.*nowhere', 'a.tsv', tmp_path / 'nowhere', **missing)
        path = write(tmp_path / 'c.tsv', [('a', encoded(0))], index=False)
        message = 'no index .*c.lineidx.8b or .*c.lineidx.*esvit tsv-index .*c.tsv'
        refused(message, path, **missing)
    with pytest.raises(FileNotFoundError, match='gone.tsv'):
        build_tsv_index(gone)
    (tmp_path / 'empty.tsv').touch()
    with pytest.raises(ValueError, match='empty.tsv is empty'):
        build_tsv_index(str(tmp_path / 'empty.tsv'))


def test_contradictions(files):
    refused('tsv_file is empty', [])
    refused('2 files in tsv_file, but 1 in lineidx', files, lineidx=['x'])
    refused('2 files in tsv_file, but 1 in label_file', files, label_file='x')
    refused(
        'either label_column or label_file', files, label_column=1, label_file=files
    )
    refused("label_map='x'", files, label_map='x')


@pytest.mark.parametrize(
    'text, pattern',
    [
        ('', r'a.lineidx is empty.*esvit tsv-index --force'),
        ('\n', r'a.lineidx has no offset in line 1'),
        ('0\n12\nx7\n', r"a.lineidx has no offset in line 3, but 'x7'"),
        ('0\n1.5\n', r"no offset in line 2, but '1.5'"),
        ('0\n5\n', r'entry 2 points to byte 5, where no line begins'),
        ('0\n{1}\n{1}\n', r'do not ascend from 0'),
        ('{1}\n{2}\n{3}\n{4}', r'do not ascend from 0'),
        ('0\n-4\n', r'entry 2 of 2 points to byte -4'),
        ('0\n{1}\n{2}\n{3}\n{4}\n{5}\n', r'entry 6 of 6 points to byte \d+ of \d+'),
        ('0\n{1}\n{2}\n{3}\n', r'entry 4 of 4 ends at .* have no entry'),
        ('0\n{1}\n{3}\n{4}\n', r'entry 2 of 4 ends at .* have no entry'),
    ],
)
def test_index_that_does_not_fit(files, tmp_path, text, pattern):
    offsets = read_tsv_index(str(tmp_path / 'a.lineidx')).tolist()
    size = (tmp_path / 'a.tsv').stat().st_size
    (tmp_path / 'a.lineidx').write_text(text.format(*offsets, size))
    refused(pattern, files)
    refused(r'index .*a.lineidx', files)


def test_binary_index_that_does_not_fit(files, tmp_path):
    (tmp_path / 'a.lineidx.8b').write_bytes(bytes(12))
    refused('a.lineidx.8b has 12 bytes, not 8 for each', files)


def test_wrong_offset_is_noticed_when_read(tmp_path):
    path = write(tmp_path / 'a.tsv', [(i, encoded(0)) for i in range(200)])
    index = np.array(read_tsv_index(path[:-3] + 'lineidx'))
    looked_at = TSVFile(path).check()
    assert {0, 199} < set(looked_at) and len(looked_at) <= 10
    wrong = next(i for i in range(200) if not {i - 1, i} & set(looked_at))
    index[wrong] += 1
    index.tofile(path[:-3] + 'lineidx.8b')
    dataset = TSVDataset(path)
    with pytest.raises(ValueError, match=f'entry {wrong + 1} points.*a.tsv'):
        dataset.get_data_info(wrong)


DAMAGED = {
    'bad base64': (b'k\t' + encoded(0)[:-3], 'column 1 has bad base64'),
    'no base64': (b'k\t???', 'column 1 has bad base64'),
    'ends early': (b'k', 'the line ends early, after 1 of 2 columns'),
    'cut image': (b'k\t' + encoded(0)[:-200], 'the record is truncated'),
    'empty': (b'k\t', 'the record is empty'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_records(tmp_path, name):
    line, problem = DAMAGED[name]
    rows = [('a', encoded(0)), (line,), ('c', encoded(1))]
    path = write(tmp_path / 'a.tsv', rows)
    dataset = TSVDataset(path, pipeline=PIPELINE)
    offset = dataset.files[0].offsets[1]
    with pytest.raises(OSError) as caught:
        dataset[1]
    place = f'{path}, line 2, offset {offset}'
    for words in (place, problem, "on_error='skip' to LoadImageFromBytes"):
        assert words in str(caught.value)
    dataset = TSVDataset(
        path, pipeline=[dict(type='LoadImageFromBytes', on_error='skip')]
    )
    assert dataset[1]['img_key'] in 'ac'


def test_no_image_in_the_column(tmp_path):
    path = write(tmp_path / 'a.tsv', [('a', encoded(0), 'tail!')] * 3)
    refused(r'line 1.*image_column=-1: pass another', path)
    refused(r'line 1.*only 3 columns.*image_column=4', path, image_column=4)
    assert images(TSVDataset(path, image_column=1)) == expected([0] * 3)


@pytest.mark.parametrize(
    'label, label_map, problem',
    [
        ('cat', None, "'cat' is no integer: pass label_map"),
        ('fox', 'cat\ndog', "'fox' is unknown: it is not in the label_map"),
        ('[]', 'cat\ndog', r"no JSON with a 'class'"),
        ('{"class', 'cat\ndog', r"no JSON with a 'class'"),
    ],
)
def test_bad_labels(tmp_path, label, label_map, problem):
    path = write(
        tmp_path / 'a.tsv', [('a', 'cat', encoded(0)), ('b', label, encoded(1))]
    )
    options = dict(label_column=1)
    if label_map:
        (tmp_path / 'map.txt').write_text(label_map)
        options['label_map'] = str(tmp_path / 'map.txt')
    dataset = TSVDataset(path, **options)
    for get in (dataset.get_data_info, dataset.get_cat_ids):
        with pytest.raises(ValueError, match=f'a.tsv, line 2, offset .*{problem}'):
            get(1)


@pytest.mark.parametrize('text', ['', 'cat\ncat\n', 'cat\t0\ndog\tx\n', 'cat\n\n'])
def test_bad_label_maps(files, tmp_path, text):
    path = tmp_path / 'map.txt'
    path.write_text(text)
    message = 'map.txt(, line 2| is empty)'
    refused(message, files, label_column=1, label_map=str(path))


def test_encodings_of_label_maps(tmp_path):
    path = write(tmp_path / 'a.tsv', [('a', 'cat', encoded(0))])
    options = dict(label_column=1, label_map=str(tmp_path / 'map.txt'))
    (tmp_path / 'map.txt').write_text('\ufeffcat\r\nkäse')
    assert list(TSVDataset(path, **options).CLASSES) == ['cat', 'käse']
    (tmp_path / 'map.txt').write_bytes('cat\nkäse\n'.encode('latin-1'))
    refused('map.txt, line 2 is no UTF-8 .*save the file as UTF-8', path, **options)


@pytest.mark.parametrize('column', [3, -4, 99])
def test_no_such_label_column(tmp_path, column):
    path = write(tmp_path / 'a.tsv', [('a', 1, encoded(0))] * 2)
    message = f'a.tsv has 3 columns, and so no label_column={column}'
    refused(message, path, label_column=column)


@pytest.mark.parametrize('column', [1, -2])
@pytest.mark.parametrize('line', [(7,), (7, 1), ('',)])
def test_labels_of_a_line_that_is_cut_off(tmp_path, line, column):
    rows = [(i, 12, encoded(i)) for i in range(3)]
    path = write(tmp_path / 'a.tsv', [*rows, line])
    dataset = TSVDataset(path, label_column=column)
    assert dataset.get_cat_ids(2) == [12]
    message = f'a.tsv, line 4, .*early, after {len(line)} of 3 .*label_column={column}'
    with pytest.raises(ValueError, match=message):
        dataset.get_gt_labels()
    assert 'ends early' in dataset.get_data_info(3)['img_error']
    # An image that is cut off has its label.
    path = write(tmp_path / 'b.tsv', [*rows, (7, 12, b'')])
    assert TSVDataset(path, label_column=column).get_cat_ids(3) == [12]


def test_tool(tmp_path, monkeypatch, capsys):
    paths = [write(tmp_path / f'{x}.tsv', [(x, encoded(0))] * 3, False) for x in 'ab']
    monkeypatch.setattr(sys, 'argv', ['tsv_index.py', *paths, '--binary'])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert f'{tmp_path / "b.lineidx.8b"}: 3 lines' in capsys.readouterr().out
    assert len(TSVDataset(paths)) == 6
    monkeypatch.setattr(sys, 'argv', ['tsv_index.py', *paths, str(tmp_path / 'c.tsv')])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'c.tsv does not exist or is empty' in capsys.readouterr().err


def test_repr(files, tmp_path):
    assert f'Root of dataset: \t{tmp_path}' in repr(TSVDataset('a.tsv', tmp_path))
