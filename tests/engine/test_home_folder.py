"""``~`` in the data folders of a config, of the command line and of evaluations."""

import os

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from support.paths import CONFIGS

from esvit_plugin.datasets import ImageFiles, UnlabeledFolder
from esvit_plugin.engine.configs import expand_home, load_config
from esvit_plugin.engine.data_folders import check_data_roots
from esvit_plugin.evaluation.knn import folder_loaders

FOLDER = str(CONFIGS / 'demo' / 'esvit_swin_folder.py')


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    rng = np.random.default_rng(0)
    for name in ('train/ant', 'train/bee', 'val/ant', 'val/bee'):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'photos' / name / 'a.png')
    (tmp_path / 'photos' / 'list.txt').write_text('train/ant/a.png\n')
    return tmp_path


def test_in_a_config_and_on_the_command_line(home):
    path = home / 'own.py'
    path.write_text(f"_base_ = ['{FOLDER}']\ndata_root = '~/photos'\n")
    for cfg in (
        load_config(str(path)),
        load_config(FOLDER, {'data_root': '~/photos'}),
        load_config(FOLDER, {'train_dataloader.dataset.data_root': '~/photos'}),
    ):
        assert cfg.train_dataloader.dataset.data_root == f'{home}/photos'
        cfg.data_root = f'{home}/photos'
        check_data_roots(cfg)
        init_default_scope('mmpretrain')
        assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 4


def test_in_data_sets_of_mmpretrain(home):
    cfg = load_config(
        str(CONFIGS / 'demo' / 'linear_folder.py'), {'data_root': '~/photos'}
    )
    check_data_roots(cfg)
    init_default_scope('mmpretrain')
    for name in ('train', 'val'):
        dataset = DATASETS.build(cfg[f'{name}_dataloader'].dataset)
        assert len(dataset) == 2 and list(dataset.CLASSES) == ['ant', 'bee']


def test_in_every_setting_that_is_a_place(home):
    dataset = dict(ann_file='~/a.txt', zip_file=['~/a.zip', 'b.zip'])
    dataset['data_prefix'] = dict(img_path='~/c')
    cfg = Config(dict(data_root='~', train_dataloader=dict(dataset=dataset), name='~x'))
    expand_home(cfg)
    assert cfg.to_dict() == dict(
        data_root=str(home),
        train_dataloader=dict(
            dataset=dict(
                ann_file=f'{home}/a.txt',
                zip_file=[f'{home}/a.zip', 'b.zip'],
                data_prefix=dict(img_path=f'{home}/c'),
            )
        ),
        name='~x',
    )


def test_without_a_config(home):
    assert len(UnlabeledFolder('~/photos', ann_file='~/photos/list.txt')) == 1
    assert ImageFiles(['~/photos/train']).paths[0] == f'{home}/photos/train/ant/a.png'
    train, _ = folder_loaders(Config(dict(eval_pipeline=[])), 'c.py', '~/photos')
    assert train['dataset']['data_root'] == os.path.join(home, 'photos')
