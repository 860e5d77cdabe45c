"""UnlabeledFolder: what it finds and what it refuses."""

from pathlib import Path

import pytest
from mmpretrain.registry import DATASETS
from PIL import Image

from esvit_plugin.datasets import UnlabeledFolder


@pytest.fixture
def folder(tmp_path):
    for name in ('b.jpg', 'a.PNG', 'x/y/z/c.webp', 'x/d.tiff', 'x/e.tif', 'f.jpeg'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(path)
    for name in ('notes.txt', '.hidden.jpg', 'x/list.csv'):
        (tmp_path / name).write_text('no image')
    return tmp_path


def names(dataset, folder):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return [str(Path(p).relative_to(folder)) for p in paths]


def test_finds_images_at_any_depth(folder):
    dataset = UnlabeledFolder(folder)
    wanted = ['a.PNG', 'b.jpg', 'f.jpeg', 'x/d.tiff', 'x/e.tif', 'x/y/z/c.webp']
    assert names(dataset, folder) == wanted
    assert 'gt_label' not in dataset.get_data_info(0)
    assert names(UnlabeledFolder(str(folder), lazy_init=True), folder) == wanted


def test_images_only_in_a_sub_folder(tmp_path):
    (tmp_path / 'deep/er').mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(tmp_path / 'deep/er/a.png')
    assert names(UnlabeledFolder(tmp_path), tmp_path) == ['deep/er/a.png']


def test_options(folder):
    assert len(UnlabeledFolder(folder, data_prefix='x')) == 3
    assert len(UnlabeledFolder(folder, extensions=('.txt',))) == 1
    assert len(UnlabeledFolder(folder, indices=2)) == 2
    (folder / 'list.txt').write_text('b.jpg\nx/d.tiff\n')
    listed = UnlabeledFolder(folder, ann_file='list.txt')
    assert names(listed, folder) == ['b.jpg', 'x/d.tiff']


def test_loads_through_a_pipeline(folder):
    dataset = DATASETS.build(
        dict(
            type='UnlabeledFolder',
            data_root=str(folder),
            pipeline=[dict(type='LoadImage')],
        )
    )
    assert all(dataset[i]['img'].shape == (8, 8, 3) for i in range(len(dataset)))


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv('HOME', str(folder))
    assert len(UnlabeledFolder('~/x')) == 3


REMEDY = '--cfg-options data_root=/path/to/images'


@pytest.mark.parametrize('lazy_init', [False, True])
@pytest.mark.parametrize(
    'data_root, error, words',
    [
        (None, ValueError, ['data_root', 'None']),
        ('', ValueError, ['data_root', "''"]),
        (3, TypeError, ['data_root', '3']),
        ('nowhere', FileNotFoundError, ['nowhere', 'does not exist']),
        ('b.jpg', NotADirectoryError, ['b.jpg', 'is a file']),
    ],
)
def test_bad_roots(folder, monkeypatch, data_root, error, words, lazy_init):
    monkeypatch.chdir(folder)
    with pytest.raises(error) as caught:
        UnlabeledFolder(data_root, lazy_init=lazy_init)
    assert all(word in str(caught.value) for word in [*words, REMEDY])


def test_no_image(tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(ValueError) as caught:
        UnlabeledFolder(tmp_path)
    for words in (str(tmp_path), '.jpg', '.webp', '.tiff', REMEDY, 'extensions'):
        assert words in str(caught.value)


def test_bad_lists(folder):
    with pytest.raises(FileNotFoundError, match='ann_file.*gone.txt'):
        UnlabeledFolder(folder, ann_file='gone.txt')
    (folder / 'none.txt').write_text('')
    with pytest.raises(ValueError, match='none.txt'):
        UnlabeledFolder(folder, ann_file='none.txt')


def test_labels_are_refused(folder):
    with pytest.raises(ValueError, match='with_label.*CustomDataset'):
        UnlabeledFolder(folder, with_label=True)


@pytest.mark.parametrize('label', [' 3', '\t12', ',0', ' 1,4', '  1 4 '])
def test_labels_of_a_list_are_left_out(folder, label, capsys):
    (folder / 'list.txt').write_text(f'b.jpg{label}\nx/y/z/c.webp{label}\n')
    dataset = UnlabeledFolder(folder, ann_file='list.txt')
    assert names(dataset, folder) == ['b.jpg', 'x/y/z/c.webp']


def test_lists_of_editors(folder):
    """Those of Windows begin with a byte order mark."""
    (folder / 'list.txt').write_text('\ufeffb.jpg\r\n\r\nx/d.tiff\n  \n')
    listed = UnlabeledFolder(folder, ann_file='list.txt')
    assert names(listed, folder) == ['b.jpg', 'x/d.tiff']


def test_a_name_may_end_in_a_number(folder):
    (folder / 'b.jpg').rename(folder / 'b.jpg 3')
    (folder / 'list.txt').write_text('b.jpg 3\n')
    assert names(UnlabeledFolder(folder, ann_file='list.txt'), folder) == ['b.jpg 3']


def test_a_list_of_another_folder_is_refused(folder):
    (folder / 'list.txt').write_text('other/b.jpg\nother/c.jpg\n')
    with pytest.raises(FileNotFoundError, match='None of the first 2 .*other/b.jpg'):
        UnlabeledFolder(folder, ann_file='list.txt')
