"""The configs of this package in the hubs of mmengine, mmpretrain and mim."""

import runpy
import sys
from pathlib import Path

import cv2
import mmengine.hub
import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from support.paths import CONFIGS

import esvit_plugin
from esvit_plugin.datasets import ImageFiles
from esvit_plugin.engine.config_checks import check_config
from esvit_plugin.models import EsViT

NAMES = [
    'demo/esvit_swin_photos.py',
    'demo/esvit_swin_folder.py',
    'linear/linear_swin_t.py',
    'esvit/esvit_swin_t.py',
]
# A run of seconds that is shorter than its warm-up.
QUICK = """
train_cfg = dict(max_epochs=1)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(num_train=1),
)
model = dict(neck=dict(hidden_channels=64), region_neck=dict(hidden_channels=64))
"""


def child(folder, base, text=''):
    path = folder / 'child.py'
    path.write_text(f"_base_ = 'esvit_plugin::{base}'\n{text}")
    return str(path)


@pytest.mark.parametrize('base', NAMES)
def test_configs_inherit_from_the_package(tmp_path, base):
    cfg = Config.fromfile(child(tmp_path, base))
    own = Config.fromfile(str(CONFIGS / base.removeprefix('esvit/')))
    assert cfg.model.pop('_scope_') == 'esvit_plugin'
    assert cfg.model.backbone == own.model.backbone
    check_config(cfg)


def test_only_paths_of_this_package_lose_a_folder():
    cfg = mmengine.hub.get_config('mmpretrain::_base_/models/resnet50.py')
    assert cfg.model.backbone.type == 'ResNet'
    with pytest.raises(FileNotFoundError):
        mmengine.hub.get_config('esvit_plugin::esvit/nothing.py')


@pytest.mark.slow
def test_mmpretrains_program_trains_a_config_of_the_hub(tmp_path, monkeypatch):
    tools = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
    config = child(tmp_path, NAMES[0], QUICK)
    work_dir = tmp_path / 'run'
    argv = ['train.py', config, '--work-dir', str(work_dir), '--no-persistent-workers']
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.setenv('LOCAL_RANK', '0')
    runpy.run_path(str(tools / 'train.py'), run_name='__main__')
    checkpoint = torch.load(work_dir / 'epoch_1.pth')
    # 16 photographs, one crop of each
    assert checkpoint['meta']['iter'] == 2
    # What EsViTRunner writes
    assert checkpoint['meta']['run']['images'] == 16
    model = esvit_plugin.get_model(config, work_dir / 'epoch_1.pth')
    assert isinstance(model, EsViT)


def test_mmpretrains_program_says_which_folder_is_missing(tmp_path, monkeypatch):
    tools = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
    text = f"{QUICK}\ntrain_dataloader['dataset'] = dict(_delete_=True, type="
    text += "'UnlabeledFolder', data_root='nowhere', pipeline=[])\n"
    config = child(tmp_path, NAMES[0], text)
    argv = ['train.py', config, '--work-dir', str(tmp_path / 'run')]
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(
        FileNotFoundError, match='nowhere of UnlabeledFolder .*does not'
    ):
        runpy.run_path(str(tools / 'train.py'), run_name='__main__')


def test_components_have_the_scope_of_the_package_too():
    # Before anything else, as from mmdet: by the root of all scopes
    assert ROOT_MODELS.get('esvit_plugin.EsViT') is EsViT
    assert ROOT_HOOKS.get('esvit_plugin.KNNMonitorHook').__name__ == 'KNNMonitorHook'
    assert MODELS.get('esvit_plugin.EsViT') is EsViT
    for name in ('EsViT', 'esvit_plugin.EsViT', 'mmpretrain.EsViT'):
        assert esvit_plugin.registry.MODELS.get(name) is EsViT
    assert ROOT_MODELS.get('mmpretrain.EsViT') is EsViT
    # mmpretrain's own, by name alone
    assert esvit_plugin.registry.MODELS.get('ResNet') is MODELS.get('ResNet')
    with DefaultScope.overwrite_default_scope('esvit_plugin'):
        neck = dict(type='esvit_plugin.DINOProjection', in_channels=8, out_channels=8)
        assert type(MODELS.build(neck)).__name__ == 'DINOProjection'
    check_config(dict(default_scope='esvit_plugin', model=dict(type='EsViT')))


def test_mmengines_hub_builds_models():
    model = mmengine.hub.get_model(f'esvit_plugin::{NAMES[0]}')
    assert isinstance(model, EsViT)


def test_mmpretrain_lists_and_builds_models():
    names = mmpretrain.list_models('*esvit*')
    assert 'esvit_swin_t' in names
    assert set(esvit_plugin.list_models()) <= set(mmpretrain.list_models())
    # Its own are there still.
    assert 'resnet50_8xb32_in1k' in mmpretrain.list_models('resnet50')
    assert isinstance(mmpretrain.get_model('esvit_swin_photos'), EsViT)


def test_mmpretrain_extracts_features(tmp_path):
    rng = np.random.default_rng(0)
    path = str(tmp_path / 'image.png')
    cv2.imwrite(path, rng.integers(0, 256, (90, 70, 3), dtype=np.uint8))
    model = esvit_plugin.get_model('esvit_swin_photos')
    checkpoint = str(tmp_path / 'checkpoint.pth')
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    _, image = ImageFiles([path], 64)[0]
    inputs = model.data_preprocessor(dict(inputs=image[None]))['inputs']
    with torch.no_grad():
        expected = model.extract_feat(inputs)[0]
    config = str(CONFIGS / NAMES[0])
    for given in ('esvit_swin_photos', config, Config.fromfile(config), model):
        extract = mmpretrain.FeatureExtractor(given, pretrained=checkpoint)
        torch.testing.assert_close(extract(path)[0], expected)
    # A model of mmpretrain has the pipeline of its own config.
    extract = mmpretrain.FeatureExtractor('resnet18_8xb32_in1k', pretrained=False)
    assert extract(path)[0][0].shape == (512,)


def test_no_two_configs_have_one_name():
    """As mim finds them by it, whatever the folder."""
    names = [path.name for path in CONFIGS.rglob('*.py')]
    assert len(names) == len(set(names))
