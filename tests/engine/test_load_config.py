"""What reading a config does beside reading it."""

import pytest
from support.paths import ROOT

from esvit_plugin.commands.knn import check_folder_option
from esvit_plugin.engine.configs import (
    drop_late_schedules,
    load_config,
)
from esvit_plugin.engine.data_folders import check_data_roots
from esvit_plugin.evaluation.knn import find_loaders


def test_a_run_shorter_than_its_warm_up_keeps_the_warm_up():
    cfg = load_config(
        str(ROOT / 'configs/esvit_swin_t.py'), {'train_cfg.max_epochs': 10}
    )
    drop_late_schedules(cfg)
    names = [schedule.type for schedule in cfg.param_scheduler]
    assert names == ['LinearLR', 'CosineAnnealingParamScheduler']


@pytest.mark.parametrize('by_epoch', [True, False])
def test_schedules_by_iterations_are_never_late(tmp_path, by_epoch, capfd):
    path = tmp_path / 'mine.py'
    path.write_text(
        'train_cfg = dict(by_epoch=True, max_epochs=10)\n'
        'param_scheduler = [\n'
        f'    dict(type="LinearLR", by_epoch={by_epoch}, end=500),\n'
        f'    dict(type="CosineAnnealingLR", by_epoch={by_epoch}, begin=500),\n'
        ']\n'
    )
    cfg = load_config(str(path))
    drop_late_schedules(cfg)
    names = [schedule.type for schedule in cfg.param_scheduler]
    assert names == ['LinearLR', 'CosineAnnealingLR'][: 1 if by_epoch else 2]
    assert ('ends before' in ''.join(capfd.readouterr())) == by_epoch


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


# As mmdet's: what evaluators read is joined in the file.
JOINED = """
data_root = 'data/coco/'
val_dataloader = dict(dataset=dict(type='CustomDataset', data_root=data_root))
val_evaluator = dict(
    type='Accuracy',
    ann_file=data_root + 'annotations/val.json',
    outfile_prefix='work_dirs/coco',
    others=dict(seg_prefix=data_root + 'seg', root=data_root, depth=3),
)
test_evaluator = [dict(type='Accuracy', ann_file=data_root + 'test.json'), dict(k=1)]
my_own_note = data_root + 'note'
"""


@pytest.mark.parametrize('root', ['/data/coco', '/data/coco/', 'data/coco/mine'])
@pytest.mark.parametrize('of_child', [True, False])
def test_data_root_reaches_the_paths_of_evaluators(tmp_path, root, of_child):
    path, child = tmp_path / 'base.py', tmp_path / 'child.py'
    path.write_text(JOINED)
    child.write_text(f"_base_ = './base.py'\n{f'data_root = {root!r}' * of_child}\n")
    cfg = load_config(str(child), {} if of_child else {'data_root': root})
    folder = root.rstrip('/')
    assert cfg.val_dataloader.dataset.data_root == root
    assert cfg.val_evaluator.ann_file == f'{folder}/annotations/val.json'
    assert cfg.val_evaluator.outfile_prefix == 'work_dirs/coco'
    others = dict(seg_prefix=f'{folder}/seg', root=f'{folder}/', depth=3)
    assert cfg.val_evaluator.others == others
    assert cfg.test_evaluator[0].ann_file == f'{folder}/test.json'
    assert cfg.test_evaluator[1] == dict(k=1)
    # What is given by itself goes first.
    option = {'val_evaluator.ann_file': '/other.json', 'data_root': '/new'}
    cfg = load_config(str(child), option)
    assert cfg.val_evaluator.ann_file == '/other.json'
    assert cfg.val_evaluator.others.seg_prefix == '/new/seg'


def test_a_folder_that_begins_alike_is_another(tmp_path):
    path = tmp_path / 'base.py'
    text = JOINED.replace("data_root = 'data/coco/'", "data_root = 'data/coco'")
    path.write_text(text.replace("data_root + '", "data_root + '2/"))
    cfg = load_config(str(path), {'data_root': '/new'})
    assert cfg.val_evaluator.ann_file == 'data/coco2/annotations/val.json'


@pytest.mark.parametrize(
    'name',
    [
        'swin_t',
        'swin_t_view_webvision',
        'swin_t_view_openimages',
        'swin_t_view_imagenet22k',
        'mae_lite_tiny',
        'mocov3_vit_s',
    ],
)
def test_data_root_of_k_nn_configs_is_that_of_the_k_nn_images(name):
    options = {'data_root': '/mine'}
    cfg = load_config(f'knn_{name}', options)
    loaders = find_loaders(cfg, name)
    assert [loader.dataset.data_root for loader in loaders] == ['/mine'] * 2
    check_folder_option(cfg, options, loaders)


@pytest.mark.parametrize('data', ['webvision', 'openimages', 'imagenet22k'])
def test_a_folder_that_does_not_reach_the_k_nn_images_is_refused(data):
    name, options = f'esvit_swin_t_view_{data}', {'data_root': '/mine'}
    assert load_config(f'knn_swin_t_view_{data}').train_dataloader == (
        load_config(f'knn_swin_t_view_{data}', options).train_dataloader
    )
    cfg = load_config(name, options)
    wanted = (
        r'data/imagenet/\)\. Set custom_hooks.\d.train_dataloader.dataset.data_root'
    )
    with pytest.raises(ValueError, match=wanted):
        check_folder_option(cfg, options, find_loaders(cfg, name))
    options['knn_dataloader.dataset.data_root'] = '/imagenet'
    options['knn_val_dataloader.dataset.data_root'] = '/imagenet'
    cfg = load_config(name, options)
    check_folder_option(cfg, options, find_loaders(cfg, name))
