"""Checkpoints that a config names and that are not there."""

import re

import pytest
from mmengine.config import Config
from support.paths import CONFIGS
from support.tools import run

from esvit_plugin import get_model
from esvit_plugin.engine.checkpoint_paths import check_checkpoints
from esvit_plugin.engine.configs import load_config

SETTINGS = {
    'demo/dmae_photos': ('target_generator', 'mae_photos/epoch_20.pth'),
    'mae_lite/finetune_mae_lite_tiny': (
        'backbone.init_cfg',
        'mae_lite_tiny/epoch_400.pth',
    ),
    'demo/linear_swin_photos': ('backbone.init_cfg', 'esvit_swin_photos/'),
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('name', SETTINGS)
def test_the_setting_and_the_remedy_are_named(name):
    place, path = SETTINGS[name]
    setting = f'model.{place}.checkpoint'
    message = (
        f'There is no checkpoint work_dirs/{path}.* which {setting} names. Train it '
        rf'first \(esvit train {path.split("/")[0]}\), .*--cfg-options {setting}=PATH'
    )
    cfg = load_config(str(CONFIGS / f'{name}.py'))
    with pytest.raises(FileNotFoundError, match=message):
        check_checkpoints(cfg)


def test_what_is_there_or_elsewhere_passes(tmp_path):
    def check(path):
        init = [dict(type='TruncNormal'), dict(type='Pretrained', checkpoint=path)]
        check_checkpoints(Config(dict(model=dict(neck=dict(init_cfg=init)))))

    (tmp_path / 'here.pth').touch()
    for path in ('here.pth', 'timm::vit_base', 'https://a.org/b.pth', 's3://b.pth'):
        check(path)
    expected = 'no checkpoint own.pth, which model.neck.init_cfg.1.checkpoint names. G'
    with pytest.raises(FileNotFoundError, match=re.escape(expected)):
        check('own.pth')
    check_checkpoints(Config(dict(load_from='own.pth')))


def test_training_says_so_before_it_builds(monkeypatch):
    monkeypatch.setattr('esvit_plugin.commands.train.build_training_runner', None)
    with pytest.raises(FileNotFoundError, match='model.target_generator.checkpoint'):
        run('train.py', CONFIGS / 'demo' / 'dmae_photos.py')


def test_models_alone_say_whose_it_is():
    with pytest.raises(FileNotFoundError, match='checkpoint of a MAETeacher'):
        get_model('dmae_photos')
    with pytest.raises(FileNotFoundError, match='init_cfg.checkpoint of the EsViTSwin'):
        get_model('linear_swin_photos')
