"""Folders with loops of links, links to nothing and what cannot be read."""

import os

import pytest
from PIL import Image
from support import made_up_transfer

from esvit_plugin.datasets import (
    ImageFiles,
    LabeledFolder,
    UCF101Frames,
    UnlabeledFolder,
)
from esvit_plugin.datasets.paths import walk_files, warn_of_skipped


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'root'
    for name in ('a.png', 'x/b.png', 'x/y/c.png', '.hidden/d.png', 'locked/e.png'):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(path)
    (tmp_path / 'other/z').mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(tmp_path / 'other/z/f.png')
    (root / 'link').symlink_to(tmp_path / 'other')
    (root / 'link.png').symlink_to('a.png')
    return root


GOOD = ['a.png', 'link.png', 'link/z/f.png', 'locked/e.png', 'x/b.png', 'x/y/c.png']


def spoil(folder, monkeypatch):
    """Add two loops and two links to nothing, and lock a folder (root reads all)."""
    (folder / 'x/y/up').symlink_to(folder)
    (folder / 'x/self').symlink_to('self')
    (folder / 'gone.png').symlink_to('nowhere.png')
    (folder / 'x/gone').symlink_to('/nowhere')
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)


def found(source):
    if source is ImageFiles:
        return lambda root: ImageFiles([str(root)]).paths
    options = dict(with_label=False) if source is LabeledFolder else {}
    return lambda root: [
        x['img_path']
        for x in source(str(root), lazy_init=True, **options).load_data_list()
    ]


@pytest.fixture(params=[UnlabeledFolder, LabeledFolder, ImageFiles])
def names(request):
    paths = found(request.param)
    return lambda root: [os.path.relpath(path, root) for path in paths(root)]


def test_links_are_followed(folder, names, logged):
    assert names(folder) == GOOD and not logged


def test_what_cannot_be_read_is_left_out_with_one_warning(
    folder, names, logged, monkeypatch
):
    spoil(folder, monkeypatch)
    assert names(folder) == [name for name in GOOD if name != 'locked/e.png']
    (line,) = logged
    for words in ('left out 5 entries', 'gone.png (No such file', 'and 2 more'):
        assert words in line
    assert '(Permission denied)' in line and '\n' not in line


def test_reasons_of_loops(folder, monkeypatch):
    spoil(folder, monkeypatch)
    skipped = []
    assert len(list(walk_files(str(folder), skipped))) == 5
    reasons = ' '.join(sorted(skipped))
    assert 'x/y/up (a link back to a folder that it lies in)' in reasons
    assert 'x/self (Too many levels of symbolic links)' in reasons


def test_links_to_what_the_folder_lies_in_are_left_out(folder, names, logged):
    (folder.parent / 'f.png').touch()
    (folder / 'x/above').symlink_to(folder.parent)
    assert names(folder) == GOOD
    assert 'x/above (a link back to a folder that it lies in)' in logged[0]


def test_files_of_other_types_are_counted(folder, names, told):
    for name in ('a.HEIC', 'x/b.heic', 'x/c.gif', 'd.csv', 'e.txt', 'f', '.g.gif'):
        (folder / name).touch()
    names(folder)
    (line,) = told
    assert f'6 images of {folder}' in line and '\n' not in line
    assert 'left out 6 files' in line and '.heic 2, ' in line and 'others 2' in line


def test_torchrun_tells_of_files_once(folder, names, told, monkeypatch):
    (folder / 'a.gif').touch()
    (folder / 'gone.png').symlink_to('nowhere.png')
    monkeypatch.setenv('RANK', '1')
    assert names(folder) == GOOD and not told
    monkeypatch.setenv('RANK', '0')
    names(folder)
    assert len(told) == 2 and '.gif 1' in told[0]


def test_a_folder_of_nothing_else(tmp_path, names, logged):
    (tmp_path / 'loop').symlink_to(tmp_path)
    with pytest.raises(ValueError, match='no image in'):
        names(tmp_path)
    assert 'left out 1 entries' in logged[0] and 'more' not in logged[0]


def test_deep_and_not_recursive(tmp_path):
    path = tmp_path
    for _ in range(300):
        path /= 'd'
    path.mkdir(parents=True)
    (path / 'a').touch()
    (tmp_path / 'b').touch()
    assert len(list(walk_files(str(tmp_path), []))) == 2
    assert list(walk_files(str(tmp_path), [], recursive=False)) == ['b']


def test_the_same_folder_twice_is_no_loop(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/x').touch()
    (tmp_path / 'b').symlink_to('a')
    skipped = []
    assert sorted(walk_files(str(tmp_path), skipped)) == ['a/x', 'b/x']
    warn_of_skipped('A set', skipped)


def test_frames_that_cannot_be_read(tmp_path, logged):
    made_up_transfer.ucf101(tmp_path)
    videos = [path for path in tmp_path.glob('frames/*/*') if path.is_dir()]
    assert videos
    for video in videos:
        (video / 'zz1.jpg').symlink_to('nowhere')
        (video / 'zz2.jpg').symlink_to('nowhere')
    dataset = UCF101Frames(str(tmp_path), 'train')
    for i in range(len(dataset)):
        assert os.path.isfile(dataset.get_data_info(i)['img_path'])
    assert len([line for line in logged if 'UCF101Frames left out' in line]) == 1
