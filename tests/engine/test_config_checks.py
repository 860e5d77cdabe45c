"""Mistakes in configs and on the command line, found without building anything."""

from argparse import Namespace

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from support.paths import CONFIGS

from esvit_plugin.engine import EsViTRunner
from esvit_plugin.engine.config_checks import (
    Arguments,
    arguments,
    check_channels,
    check_work_dir,
    distance,
    similar,
)
from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.options import load_run_config

DEMO = str(CONFIGS / 'demo' / 'esvit_swin_photos.py')
LINEAR = str(CONFIGS / 'demo' / 'linear_swin_photos.py')


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch):
    for registry in (MODELS, DATASETS):
        monkeypatch.setattr(type(registry), 'build', None)


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('optim_wrapper.optimizer.lrr', 1, 'optimizer of AdamW has no lrr; .*mean lr'),
        (
            'model.backbone.drop_path',
            0.1,
            'EsViTSwin has no drop_path; .*drop_path_rate',
        ),
        ('model.nek.out_channels', 8, 'model of EsViT has no nek; did you mean neck'),
        ('default_hooks.checkpoint.intervall', 2, 'did you mean interval'),
        ('default_hooks.loger.interval', 2, 'has no loger; did you mean logger'),
        ('train_cfg.max_epoch', 3, 'train_cfg has no max_epoch; .* max_epochs'),
        ('train_dataloader.batchsize', 3, 'did you mean batch_size'),
        ('train_dataloader.dataset.num_trian', 3, 'BundledPhotos .* num_train'),
        ('env_cfg.cudnn_benchmarks', True, 'did you mean cudnn_benchmark'),
        ('randomness.sed', 1, 'did you mean seed'),
        ('auto_scale_lr.base_batchsize', 1, 'did you mean base_batch_size'),
        ('param_scheduler.0.ends', 3, 'LinearLR has no ends; did you mean end'),
        ('param_scheduler.7.end', 3, 'is a list of 3; give a number below 3'),
        ('param_scheduler.end', 3, "give a number below 3 instead of 'end'"),
        ('train_cfg.max_epochs.x', 3, 'train_cfg.max_epochs is 10, which has no x'),
        ('train_dataloder', None, 'did you mean train_dataloader'),
        ('max_epochs', 5, r'--cfg-options max_epochs: did you mean train_cfg\.max_ep'),
        ('batch_size', 5, 'did you mean .*_dataloader.batch_size'),
    ],
)
def test_wrong_names_of_options(option, value, message):
    with pytest.raises(ValueError, match=message) as error:
        load_config(DEMO, {option: value})
    assert option in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('config', 'options'),
    [
        (
            DEMO,
            {
                'train_cfg.max_epochs': 2,
                'train_cfg.val_interval': 2,
                'default_hooks.logger.interval': 3,
                'default_hooks.checkpoint.save_last': False,
                'visualizer.vis_backends': [],
                'model.compile_backbones': True,
                'model.backbone.with_cp': True,
                'model.region_neck': None,
                'optim_wrapper.dtype': 'bfloat16',
                'optim_wrapper.accumulative_counts': 2,
                'optim_wrapper.clip_grad': None,
                'train_dataloader.pin_memory': True,
                'train_dataloader.prefetch_factor': 4,
                'train_dataloader.dataset.pipeline.0.type': 'DeviceMultiCrop',
                'train_dataloader.dataset.pipeline.0.views.0.size': 32,
                'custom_hooks.0.priority': 'LOW',
                'param_scheduler.0.convert_to_iter_based': True,
                'randomness.deterministic': True,
                'env_cfg.dist_cfg.timeout': 60,
                'find_unused_parameters': True,
                'load_from': 'a.pth',
                'my_own_note': 'hello',
            },
        ),
        (LINEAR, {'model.backbone.init_cfg.checkpoint': 'a.pth'}),
        (LINEAR, {'model.backbone.frozen_stages': 2, 'val_cfg.fp16': True}),
    ],
)
def test_right_names_of_options(config, options):
    load_config(config, options)


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('train_cfg.max_epochs', 0, 'max_epochs must be a whole number >= 1, got 0'),
        ('train_cfg.max_epochs', 1.5, 'whole number >= 1, got 1.5'),
        ('optim_wrapper.clip_grad.max_norm', 0, 'max_norm must be above 0, got 0'),
        ('optim_wrapper.optimizer.lr', 'abc', "lr must be a number above 0, got 'abc'"),
        ('optim_wrapper.optimizer.lr', -1, 'above 0, got -1'),
        ('optim_wrapper.optimizer.lr', float('nan'), 'above 0, got nan'),
        ('optim_wrapper.optimizer.type', 'AdamWW', "'AdamWW'; did you mean AdamW?"),
        ('model.backbone.type', 'EsVitSwin', "'EsVitSwin'; did you mean EsViTSwin?"),
        ('custom_imports.imports', ['no_such'], r"demo/.*photos.py: .*'no_such'"),
        (
            'train_dataloader.batch_size',
            0,
            'train_dataloader.batch_size .* >= 1, got 0',
        ),
        ('train_dataloader.num_workers', -1, 'num_workers .* >= 0, got -1'),
        (
            'custom_hooks.5.temperature',
            0,
            'KNNMonitorHook.*temperature must be above 0',
        ),
        ('custom_hooks.5.ks', [0], 'k must be a whole number >= 1, got 0'),
        ('load_from', 7, 'load_from must be the name of a file or folder, got 7'),
        (
            'load_from',
            ['a'],
            r"load_from must be the name of one .*, got \['a'\]: name",
        ),
        (
            'train_dataloader.dataset.data_root',
            ('a', 'b'),
            'dataset.data_root must .* one',
        ),
        (
            'optim_wrapper.clip_grad',
            3.0,
            'clip_grad must be a dict or None, got 3.0: .*norm',
        ),
        (
            'train_cfg',
            5,
            'train_cfg must be a dict, got 5: give its parts, train_cfg.K',
        ),
        ('val_dataloader', 'x', "val_dataloader must be a dict, got 'x'"),
        ('env_cfg', [1], r'env_cfg must be a dict, got \[1\]'),
    ],
)
def test_wrong_values(option, value, message):
    hooks = Config.fromfile(DEMO).custom_hooks
    place = next(i for i, h in enumerate(hooks) if h['type'] == 'KNNMonitorHook')
    option = option.replace('hooks.5', f'hooks.{place}')
    kind = ImportError if option.startswith('custom_imports') else ValueError
    with pytest.raises(kind, match=message):
        load_config(DEMO, {option: value})


def test_wrong_data_root():
    path = str(CONFIGS / 'esvit_swin_t.py')
    with pytest.raises(ValueError, match='data_root must be the name .*, got 7'):
        load_config(path, dict(data_root=7))


def write(folder, text, name='config.py'):
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = 1\nb = (2,\n', r'config\.py, line 2: .* was never closed'),
        (
            'a = 1\nb = c\n',
            r"config\.py, line 2: .* NameError: name 'c' is not defined",
        ),
        (
            "\n_base_ = './none.py'\n",
            r'config\.py, line 2: .* lacks its _base_ \./none',
        ),
        ("_base_ = 'mmpretrain::no/ne.py'\n", r'config\.py: the config cannot be read'),
        ("_base_ = 'other.py'\nb = 1\n", r'other\.py, line 1: .*ZeroDivisionError'),
        ("_base_ = 'config.py'\n", 'includes itself by its _base_ config.py'),
        (
            "model = dict(type='EsVit')\n",
            "model has the unknown type 'EsVit'; .* EsViT",
        ),
        ('optim_wraper = dict()\n', 'has optim_wraper: did you mean optim_wrapper'),
        ('train_cfg = dict(max_iters=-3)', 'max_iters must be a whole number >= 1'),
        ('knn = dict(k=0, temperature=1)', 'knn: k must be a whole number >= 1'),
        ('a = 1\n_base_ = None\n', r'config\.py, line 2: _base_ must be .*, got None'),
        (
            "_base_ = ['other.py', 3]\n",
            r'line 1: _base_ must be .* list of names, got ',
        ),
        ("_base_ = 'a.py', 'b.py'\n", r'line 1: _base_ must be .* list of names, got '),
        ("custom_imports = ['x']\n", r'config\.py: custom_imports must be dict\(imp'),
        ("custom_imports = 'x'\n", r'custom_imports must be dict\(imports=\['),
        (
            'custom_imports = dict(imports=[5])\n',
            r'custom_imports must be dict\(imports',
        ),
        (
            'a = 1\nb = 2\0\n',
            r'config\.py, line 2: .* byte 0x00 there: save it as UTF-8',
        ),
    ],
)
def test_wrong_files(tmp_path, text, message):
    write(tmp_path, 'a = 1 / 0\n', 'other.py')
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        load_config(write(tmp_path, text))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('name', ['config.py', 'config.yaml'])
@pytest.mark.parametrize(
    ('encoding', 'line'), [('latin-1', 2), ('utf-16', 1), ('utf-16-le', 2)]
)
def test_files_that_are_no_utf_8(tmp_path, name, encoding, line):
    path = tmp_path / name
    path.write_bytes('# A note\n# Größe\n'.encode(encoding))
    with pytest.raises(ValueError, match=f'{path}, line {line}: .*: save it as UTF-8'):
        load_config(str(path))
    if name.endswith('.py'):
        child = write(tmp_path, f"_base_ = './{name}'\n", 'child.py')
        with pytest.raises(ValueError, match=f'{path}, line {line}: .* as UTF-8'):
            load_config(child)


def test_what_is_no_config_file(tmp_path):
    with pytest.raises(ValueError, match='is a folder; name a file in it'):
        load_config(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'no config file nowhere\.py'):
        load_config('nowhere.py')
    with pytest.raises(ValueError, match=r'must end in \.py, \.json or \.yaml'):
        load_config(write(tmp_path, 'a', 'config.txt'))


def test_work_folders(tmp_path):
    file = write(tmp_path, '')
    for folder in (file, f'{file}/deeper/still'):
        with pytest.raises(ValueError, match=f'{file} is a file.*--work-dir'):
            check_work_dir(folder)
    for folder in (str(tmp_path), str(tmp_path / 'new' / 'one'), 'relative', None):
        check_work_dir(folder)


def test_distances():
    assert distance('train_cgf', 'train_cfg') == 1
    assert distance('kitten', 'sitting') == 3
    assert similar('resize', ['resume']) is None
    assert similar('optim_wraper', ['optim_wrapper']) == 'optim_wrapper'


class Parent:
    def __init__(self, a, b=1):
        pass


class Child(Parent):
    def __init__(self, c, **kwargs):
        super().__init__(**kwargs)


class Open:
    def __init__(self, d, **kwargs):
        pass


def test_arguments_of_parents_count():
    assert arguments(Child) == Arguments(frozenset('abc'), False)
    assert arguments(Open) == Arguments(frozenset('d'), True)
    assert arguments(lambda x, *y: x) == Arguments(frozenset('x'), False)


RGB = dict(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])
CROPS = dict(dataset=dict(pipeline=[dict(type='mmpretrain.MultiCrop')]))


@pytest.mark.parametrize(
    ('backbone', 'setting'),
    [
        (dict(type='EsViTSwin', in_channels=1), 'model.backbone.in_channels=1'),
        (dict(type='TIMMBackbone', in_chans=4), 'model.backbone.in_chans=4'),
        (
            dict(type='VisionTransformer', patch_cfg=dict(in_channels=2)),
            'model.backbone.patch_cfg.in_channels=2',
        ),
    ],
)
def test_training_on_other_than_three_channels(backbone, setting):
    model = dict(type='EsViT', backbone=backbone, neck=dict(in_channels=768))
    for parts in (
        dict(model=dict(model, data_preprocessor=RGB)),
        dict(model=model, data_preprocessor=RGB),
        dict(model=model, train_dataloader=CROPS),
    ):
        with pytest.raises(ValueError, match='grey images are read as RGB') as error:
            check_channels(Config(parts))
        assert setting in str(error.value)
    # Of images of another kind; and for use without a Runner
    check_channels(Config(dict(model=model)))
    check_channels(Config(dict(model=model, data_preprocessor=dict(mean=[9.0]))))
    check_channels(Config(dict(model=dict(type='EsViT', backbone=dict(in_channels=3)))))


def test_channels_of_every_way_to_train(tmp_path):
    options = {'model.backbone.in_channels': 1}
    args = Namespace(config=DEMO, cfg_options=options, work_dir=str(tmp_path / 'run'))
    with pytest.raises(ValueError, match='model.backbone.in_channels=1: images are'):
        load_run_config(args)
    cfg = load_config(DEMO, options)
    with pytest.raises(ValueError, match='model.backbone.in_channels=1: images are'):
        EsViTRunner.from_cfg(cfg)
    assert not (tmp_path / 'run').exists()
