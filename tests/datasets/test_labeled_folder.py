"""Labelled images in folders."""

import pytest
from mmpretrain.registry import DATASETS


@pytest.fixture
def folder(tmp_path):
    for name in ('bee/x/1.WEBP', 'ant/1.tiff', 'ant/2.png', 'ant/3.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def build(folder, **options):
    return DATASETS.build(
        dict(type='LabeledFolder', data_root=str(folder), pipeline=[], **options)
    )


def test_the_file_types_are_those_of_training(folder):
    dataset = build(folder)
    assert dataset.metainfo['classes'] == ('ant', 'bee')
    assert dataset.get_gt_labels().tolist() == [0, 0, 1]
    assert len(build(folder, extensions=['.png'])) == 1
    assert len(build(folder, with_label=False)) == 3


def test_hidden_folders_are_no_classes(folder):
    (folder / '.ipynb_checkpoints').mkdir()
    (folder / '.ipynb_checkpoints' / '2.png').touch()
    dataset = build(folder)
    assert dataset.metainfo['classes'] == ('ant', 'bee')
    assert dataset.folder_to_idx == dict(ant=0, bee=1)
    assert dataset.get_gt_labels().tolist() == [0, 0, 1]


def test_lists_have_their_labels(folder):
    (folder / 'list.txt').write_text('ant/2.png 1\nbee/x/1.WEBP 0\n')
    assert build(folder, ann_file='list.txt').get_gt_labels().tolist() == [1, 0]
