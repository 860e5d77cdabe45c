"""Selections of Open Images: which images they leave, and the tool that makes them."""

import argparse
import logging
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from support.paths import ROOT

from esvit_plugin.datasets import OpenImages
from esvit_plugin.datasets.array_dataset import PackedStrings
from esvit_plugin.datasets.openimages_files import balanced_images, equal_epochs
from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.options import add_config_options

TOOL = ROOT / 'tools/dataset_converters/openimages_selection.py'
CONFIG = ROOT / 'configs/esvit_swin_t_view_openimages.py'
LIST = 'image_ids_and_rotation.csv'


@pytest.fixture
def root(tmp_path):
    """Five images in the order c, a, v (of another split), b, e, d, and their files."""
    (tmp_path / 'train').mkdir()
    rows = [f'{x * 16},{"validation" if x == "v" else "train"}\n' for x in 'cavbed']
    for name in 'abcde':
        (tmp_path / 'train' / f'{name * 16}.jpg').touch()
    (tmp_path / LIST).write_text('ImageID,Subset\n' + ''.join(rows))
    return tmp_path


def select(root, names, path='some.txt', end='\n'):
    (root / path).write_text(''.join(f'{name * 16}{end}' for name in names))
    return path


def names(dataset):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return ''.join(path[-5] for path in paths)


def test_only_these_in_the_order_of_the_list(root, caplog):
    with caplog.at_level(logging.INFO, MMLogger.get_current_instance().name):
        MMLogger.get_current_instance().addHandler(caplog.handler)
        dataset = OpenImages(root, selection=select(root, 'dac'))
        MMLogger.get_current_instance().removeHandler(caplog.handler)
    message = f'OpenImages: 3 of 5 images of {root / LIST}, those of {root}/some.txt'
    assert message in caplog.messages
    assert names(dataset) == 'cad' and isinstance(dataset.rows, range)
    assert dataset.get_data_info(2) == dict(
        img_path=str(root / 'train' / f'{"d" * 16}.jpg'), sample_idx=2
    )
    assert names(OpenImages(root, selection='')) == 'cabed'
    assert names(OpenImages(root, selection='some.txt', indices=-2)) == 'ad'


def test_where_it_lies(root, monkeypatch):
    monkeypatch.setenv('HOME', str(root))
    select(root, 'be')
    for path in (root / 'some.txt', str(root / 'some.txt'), '~/some.txt'):
        assert names(OpenImages(root, selection=path)) == 'be'


@pytest.mark.parametrize('end', ['\r\n', ' \n\n'])
def test_ends_of_lines(root, end):
    path = select(root, 'ab', end=end)
    (root / path).write_text('\ufeff' + (root / path).read_text())
    assert names(OpenImages(root, selection=path)) == 'ab'


def test_images_of_several_lengths(root):
    ids = ['x', 'longer', 'xyz', 'long', 'zwölf', 'xyzz']
    (root / 'ids.csv').write_text('ImageID\n' + '\n'.join(ids))
    (root / 'train' / 'zwölf.jpg').touch()
    (root / 'few.txt').write_text('long\nxyz\nzwölf')
    dataset = OpenImages(root, ann_file='ids.csv', selection='few.txt')
    assert [dataset.ids[i] for i in range(3)] == ['xyz', 'long', 'zwölf']
    # 'long' is no beginning of another one.
    (root / 'few.txt').write_text('lon\nzwölf')
    with pytest.raises(ValueError, match="1 of 2 .* first one 'lon' in line 1"):
        OpenImages(root, ann_file='ids.csv', selection='few.txt')


def test_the_lists_decide_on_repeated_images(root):
    (root / 'b.csv').write_text('ImageID\n' + 'b' * 16)
    dataset = OpenImages(root, ann_file=[LIST, 'b.csv'], selection=select(root, 'ba'))
    assert names(dataset) == 'abb'


@pytest.mark.slow
def test_two_hundred_thousand_take_little(root):
    ids = [f'{i:016x}' for i in range(300_000)]
    with open(root / LIST, 'a') as file:
        file.writelines(f'{image},train\n' for image in ids)
    (root / 'train' / f'{ids[0]}.jpg').touch()
    (root / 'many.txt').write_text('\n'.join(sorted(ids[:200_000], reverse=True)))
    dataset = OpenImages(root, selection='many.txt')
    assert len(dataset) == 200_000 and isinstance(dataset.rows, range)
    assert dataset.ids.content.dtype == np.uint8 and dataset.ids.ends.dtype == np.int64
    assert dataset.ids.content.nbytes + dataset.ids.ends.nbytes == 24 * 200_000
    # Nothing of the lists or the selection stays.
    assert len(pickle.dumps(dataset)) < 25 * 200_000
    for array in (dataset.ids.content, dataset.ids.ends):
        assert array.base is None
    assert dataset.get_data_info(199_999)['img_path'].endswith(f'/{199_999:016x}.jpg')


def refused(root, pattern, error=ValueError, **options):
    with pytest.raises(error, match=pattern):
        OpenImages(root, **options)


A, B, X = 'a' * 16, 'b' * 16, 'x' * 16


@pytest.mark.parametrize(
    ('content', 'pattern'),
    [
        ('', 'some.txt is empty: make it again with esvit openimages-selection'),
        ('\n \n', 'some.txt is empty'),
        (f'{A}\n{X}\n', f"1 of 2 images that .*{LIST}.*'{X}' in line 2"),
        (f'\n{X}\n{A}\n\nw', f"2 of 3 images that .*'{X}' in line 2"),
        ('v' * 16, f"1 of 1 .*'{'v' * 16}' in line 1.*same split"),
        (f'ImageID\n{A}', "1 of 2 .*'ImageID' in line 1"),
        (f'{A}\n{B}\n\n{B}\n{A}\n{A}', f"repeats 3 of 5 .*'{B}' in line 4"),
        (A + '\n' + 'a' * 300, 'some.txt, line 2 has 300 characters'),
        ('z\udce4\x1b', r"'z\\udce4\\x1b' in line 1"),
    ],
)
def test_bad_selections(root, content, pattern):
    (root / 'some.txt').write_bytes(content.encode(errors='surrogateescape'))
    refused(root, pattern, selection='some.txt')


@pytest.mark.parametrize('lazy_init', [False, True])
def test_missing_selections(root, lazy_init):
    command = f'esvit openimages-selection .*-o {root}/gone.txt'
    pattern = f"{root}/gone.txt does not exist: .*{command}.*''"
    for path in ('gone.txt', root / 'gone.txt'):
        refused(root, pattern, FileNotFoundError, selection=path, lazy_init=lazy_init)
    refused(root, 'train does not exist', FileNotFoundError, selection='train')
    for path in (None, 3, ['some.txt']):
        refused(root, "'' for all images, got", TypeError, selection=path)


def test_the_contents_are_read_when_needed(root):
    dataset = OpenImages(root, selection=select(root, ''), lazy_init=True)
    with pytest.raises(ValueError, match='some.txt is empty'):
        len(dataset)


def test_only_selected_images_must_exist(root):
    for name in 'acde':
        (root / 'train' / f'{name * 16}.jpg').unlink()
    assert names(OpenImages(root, selection=select(root, 'b'))) == 'b'
    refused(
        root, 'None of 20 images', FileNotFoundError, selection=select(root, 'acde')
    )


def test_packed_strings_for_numpy():
    strings = ['ab', '', 'zwölf', 'c']
    packed = PackedStrings(strings)
    assert packed.lengths.tolist() == [2, 0, 6, 1]
    assert packed.fixed(4).tolist() == [b'ab', b'', 'zwö'.encode(), b'c']
    some = packed.select(np.array([False, True, True, True]))
    assert [some[i] for i in range(len(some))] == ['', 'zwölf', 'c']
    same = PackedStrings(['ab', 'cd'])
    assert same.fixed(2).tolist() == [b'ab', b'cd']
    assert np.shares_memory(same.fixed(2), same.content)
    assert len(packed.select(np.zeros(4, bool))) == 0


HEADER = 'ImageID,Source,LabelName,Confidence\n'
PEOPLE = [
    'i3,verification,cat,1',
    'i1,verification,cat,1',
    'i1,verification,dog,0',
    'i2,verification,dog,1',
    'i5,verification,bird,1',
    'i6,verification,bird,0',
]
MACHINES = [
    'i1,machine,cat,0.9',
    'i2,machine,cat,0.4',
    'i4,machine,cat,0.5',
    'i4,machine,dog,0.8',
    # Again, and apart from their other rows.
    'i2,machine,dog,0.7',
    'i2,machine,dog,0.6',
    'i7,machine,fish,1.0',
]


def labels(tmp_path, rows=PEOPLE, name='people.csv', header=HEADER):
    (tmp_path / name).write_text(header + '\n'.join(rows) + '\n')
    return str(tmp_path / name)


def chosen(*paths, **options):
    found = balanced_images(paths, **options)
    ids = ' '.join(found.ids[i] for i in range(len(found.ids)))
    return ids, found.num_images, found.num_kept, found.num_classes


def test_balanced_images(tmp_path):
    people = labels(tmp_path)
    machines = labels(tmp_path, MACHINES, 'machines.csv')
    # cat: i3 i1; dog: i2; bird: i5
    assert chosen(people, min_images=2) == ('i3 i1', 5, 1, 3)
    assert chosen(people, min_images=1) == ('i3 i1 i2 i5', 5, 3, 3)
    # cat: i1 i4; dog: i4 i2, once; fish: i7
    assert chosen(machines, min_images=2) == ('i1 i2 i4', 4, 2, 3)
    # cat: i1 i2 i4
    assert chosen(machines, min_images=3, min_confidence=0.4) == ('i1 i2 i4', 4, 1, 3)
    assert chosen(machines, min_images=1, min_confidence=1) == ('i7', 4, 1, 3)
    # cat: i3 i1 i4, where both files have i1; dog: i2 i4, where both have i2
    both = ('i3 i1 i4', 7, 1, 4)
    assert chosen(people, machines, min_images=3) == both
    assert chosen(people, machines, people, min_images=3) == both
    ids = 'i3 i1 i2 i4'
    assert chosen(people, machines, min_images=2) == (ids, 7, 2, 4)


def test_other_columns_and_their_order(tmp_path):
    rows = ['"dog, wet",x,0.5,i1,', '', '"dog, wet",,0.5,longer']
    path = labels(tmp_path, rows, header='\ufeffLabelName,,Confidence,ImageID,\n')
    assert chosen(path, min_images=2) == ('i1 longer', 2, 1, 1)


@pytest.mark.parametrize(
    ('content', 'pattern'),
    [
        ('', r'l.csv has no column ImageID in line 1, but \[\]: pass image-level'),
        ('ImageID,LabelName\n', r"no column Confidence in line 1, but \['ImageID', 'L"),
        (HEADER + PEOPLE[0] + '\ni1,,cat', 'l.csv, line 3 lacks an ImageID or LabelN'),
        (HEADER + 'i1,,,1', r'l.csv, line 2 lacks an .*Confidence: \[.*Download'),
        (HEADER + 'i1,,cat,', 'l.csv, line 2 lacks an ImageID or LabelName or Conf'),
        (HEADER + 'i1,,cat,high', "l.csv, line 2 has the Confidence 'high', not a"),
        (HEADER + 'i1,,cat,nan', "l.csv, line 2 has the Confidence 'nan'"),
        (HEADER + 'i1,,cat,1.5', "l.csv, line 2 has the Confidence '1.5'"),
        (HEADER + '"i\n1",,cat,1', r"l.csv, line 3 has the ImageID 'i\\n1'"),
        (HEADER + 'i 1,,cat,1', "l.csv, line 2 has the ImageID 'i 1', which is none"),
        (HEADER + 'i' * 256 + ',,cat,1', 'l.csv, line 2 has the ImageID'),
        (HEADER + 'x' * 200_000, 'l.csv is no CSV near line 2: field'),
        (HEADER, 'No class of .*l.csv has 1000 images .* of 0 classes the largest has'),
        (HEADER + 'i1,,cat,0', 'No class .* of 1 classes the largest has 0.*Lower'),
        (HEADER + 'i1,,cat,1', 'No class .* of 1 classes the largest has 1'),
    ],
)
def test_bad_labels(tmp_path, content, pattern):
    (tmp_path / 'l.csv').write_text(content)
    with pytest.raises(ValueError, match=pattern):
        balanced_images([str(tmp_path / 'l.csv')])
    with pytest.raises(FileNotFoundError, match=r'no file of labels .*gone\.csv'):
        balanced_images([str(tmp_path / 'l.csv'), str(tmp_path / 'gone.csv')])


def run(monkeypatch, *args):
    """Run the tool in this process; a failure is what the user's message is made of."""
    monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, args)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as end:
        if isinstance(end.__cause__, Exception):
            raise end.__cause__ from None
        raise


def test_tool(root, monkeypatch, capsys):
    """What it writes is what the data set takes."""
    rows = [f'{x * 16},machine,{y},1' for x, y in ('ac', 'bc', 'bd', 'ed', 'xy')]
    out = root / 'train-balanced.txt'
    out.write_text('older')
    paths = [labels(root, rows[:3], 'm.csv'), labels(root, rows[3:4], 'p.csv')]
    run(monkeypatch, *paths, '-o', out, '--min-images', 2)
    assert out.read_text() == f'{A}\n{B}\n{"e" * 16}\n'
    printed = capsys.readouterr().out
    assert f'{out}: 3 of 3 images, of the 2 of 2 classes with at least 2' in printed
    assert 'ImageNet-1K: train_cfg.max_epochs=128116700' in printed
    assert names(OpenImages(root, selection=out.name)) == 'abe'
    run(monkeypatch, labels(root, rows, 'm.csv'), '-o', out, '--min-images', 1)
    assert f'{X}\n' in out.read_text()
    refused(root, f"1 of 4 images that .*'{X}' in line 4", selection=out.name)
    assert not [path for path in root.iterdir() if 'part' in path.name]


def test_the_tool_writes_nothing_otherwise(tmp_path, monkeypatch):
    path, out = labels(tmp_path), tmp_path / 'out.txt'
    link = tmp_path / 'link.txt'
    link.symlink_to(path)
    before = sorted(tmp_path.iterdir())
    for args, error, pattern in (
        ([path, '-o', out], ValueError, 'of 3 classes the largest has 2'),
        ([path, '-o', path], ValueError, 'is not overwritten'),
        (['gone.csv', path, '-o', link], ValueError, 'is not overwritten'),
        (['gone.csv', '-o', out], FileNotFoundError, 'no file of labels gone.csv'),
        ([path, '-o', f'{path}/b'], NotADirectoryError, 'is no folder; name another'),
        ([path, '-o', out, '--min-images', 0], ValueError, 'min-images must be >= 1'),
        ([path, '-o', out, '--min-confidence', 0], ValueError, 'above 0 .*got 0.0'),
        ([path, '-o', out, '--min-confidence', 'nan'], ValueError, 'above 0 .*got nan'),
        ([path], SystemExit, '2'),
    ):
        with pytest.raises(error, match=pattern):
            run(monkeypatch, *args)
    assert sorted(tmp_path.iterdir()) == before
    assert Path(path).read_text().startswith(HEADER)


def test_the_command_of_the_config(root, monkeypatch):
    """Its words work as they are typed; only the number of images is lower."""
    (root / 'data').mkdir()
    (root / 'data' / 'openimages').symlink_to(root)
    labels(root, [f'{A},v,cat,1'], 'train-annotations-human-imagelabels.csv')
    labels(root, [f'{B},m,cat,0.5'], 'train-annotations-machine-imagelabels.csv')
    text = CONFIG.read_text()
    command = re.search(r'python tools/.*?balanced\.txt', text, re.S)[0]
    # The words as a shell reads them
    shown = command.replace('python', 'printf "%s\\n"', 1)
    done = subprocess.run(
        ['bash', '-c', shown], cwd=root, capture_output=True, text=True
    )
    tool, *words = done.stdout.splitlines()
    assert ROOT / tool == TOOL
    monkeypatch.chdir(root)
    run(monkeypatch, *words, '--min-images', 2)
    dataset = load_config(str(CONFIG)).train_dataloader.dataset
    assert names(OpenImages(root, selection=dataset.selection)) == 'ab'


def test_the_epochs_follow_from_the_selection():
    cfg = load_config(str(CONFIG))
    assert cfg.train_dataloader.dataset.selection == 'train-balanced.txt'
    # 300 * 1,281,167 / 7,700,000 = 49.9, and / 9,011,219 = 42.7
    assert cfg.train_cfg.max_epochs == equal_epochs(7_700_000) == 50
    assert equal_epochs(9_011_219) == 43
    assert equal_epochs(1_281_167) == 300 and equal_epochs(10**9) == 1


def test_all_images_by_options():
    words = re.search(r'--cfg-options (.*?=43)', CONFIG.read_text(), re.S)[1].split()
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    options = parser.parse_args(['--cfg-options', *words]).cfg_options
    cfg = load_config(str(CONFIG), options)
    assert cfg.train_dataloader.dataset.selection == ''
    assert cfg.train_cfg.max_epochs == 43
