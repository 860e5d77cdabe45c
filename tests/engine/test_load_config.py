"""What reading a config does beside reading it."""

import pytest
from support.paths import ROOT

from esvit_plugin.engine.configs import (
    drop_late_schedules,
    load_config,
)
from esvit_plugin.engine.data_folders import check_data_roots


def test_a_run_shorter_than_its_warm_up_keeps_the_warm_up():
    cfg = load_config(
        str(ROOT / 'configs/esvit_swin_t.py'), {'train_cfg.max_epochs': 10}
    )
    drop_late_schedules(cfg)
    names = [schedule.type for schedule in cfg.param_scheduler]
    assert names == ['LinearLR', 'CosineAnnealingParamScheduler']


def test_data_root_replaces_the_folder_everywhere():
    cfg = load_config(
        str(ROOT / 'configs/esvit_swin_t.py'), dict(data_root='/data/in1k')
    )
    hook = next(h for h in cfg.custom_hooks if h.type == 'KNNMonitorHook')
    folders = [
        cfg.train_dataloader.dataset.data_root,
        hook.train_dataloader.dataset.data_root,
        hook.val_dataloader.dataset.data_root,
        cfg.data_root,
    ]
    assert folders == ['/data/in1k'] * 4


def folders(cfg):
    hook = next((h for h in cfg.custom_hooks if h.type == 'KNNMonitorHook'), None)
    return [
        cfg.train_dataloader.dataset.data_root,
        hook and hook.val_dataloader.dataset.data_root,
    ]


def write_child(tmp_path, base, text):
    path = tmp_path / 'child.py'
    path.write_text(f"_base_ = ['{ROOT}/configs/{base}']\n{text}")
    return load_config(str(path))


def test_data_root_of_a_child_reaches_the_data_sets(tmp_path):
    cfg = write_child(tmp_path, 'esvit_swin_t.py', "data_root = '/data/in1k'\n")
    assert folders(cfg) == ['/data/in1k'] * 2
    cfg = write_child(tmp_path, 'demo/esvit_swin_folder.py', "data_root = '/mine'\n")
    assert folders(cfg) == ['/mine', None]
    path = tmp_path / 'of_package.py'
    base = 'esvit_plugin::demo/esvit_swin_folder.py'
    path.write_text(f"_base_ = {base!r}\ndata_root = '/mine'\n")
    assert folders(load_config(str(path))) == ['/mine', None]
    # Once more removed
    (tmp_path / 'child.py').rename(tmp_path / 'parent.py')
    path = tmp_path / 'grandchild.py'
    path.write_text("_base_ = ['./parent.py']\ndata_root = '/other'\n")
    assert folders(load_config(str(path))) == ['/other', None]


def test_data_root_of_a_child_that_uses_it_changes_nothing_else(tmp_path):
    cfg = write_child(
        tmp_path,
        'esvit_swin_t.py',
        "data_root = '/data/webvision'\n"
        'train_dataloader = dict(dataset=dict(data_root=data_root))\n',
    )
    assert folders(cfg) == ['/data/webvision', 'data/imagenet/']
    # As the configs of other data sets, which are evaluated on ImageNet
    for name in ('openimages', 'webvision', 'imagenet22k'):
        cfg = load_config(str(ROOT / f'configs/esvit_swin_t_view_{name}.py'))
        assert folders(cfg)[1] == 'data/imagenet/'
        assert folders(cfg)[0] != 'data/imagenet/'


def test_bases_that_were_renamed_are_named(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = ['{ROOT}/configs/_base_/models/esvit_swin_t.py']\n")
    with pytest.raises(FileNotFoundError, match='has .*_base_/models/swin_t.py'):
        load_config(str(path))


def test_a_folder_that_is_yet_to_be_given_is_refused_before_anything_is_built():
    cfg = load_config('esvit_swin_folder_laptop')
    with pytest.raises(ValueError, match='UnlabeledFolder has no data_root .*pass'):
        check_data_roots(cfg)
