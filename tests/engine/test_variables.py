"""``--cfg-options`` of a config's variables."""

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from esvit_plugin.engine import EsViTRunner
from esvit_plugin.engine.config_checks import dicts
from esvit_plugin.engine.configs import config_path, load_config
from esvit_plugin.engine.variables import find_bit_depth


def hook_of(cfg):
    return next(hook for hook in cfg.custom_hooks if hook.type == 'KNNMonitorHook')


@pytest.mark.parametrize(
    'name',
    [
        'esvit_swin_t',
        'esvit_swin_photos',
        'mae_photos',
        'mocov3_photos',
        'mocov3_vit_s',
    ],
)
def test_the_loaders_of_the_hook_are_those_of_the_variables(name, capfd):
    options = {
        'knn_dataloader.batch_size': 7,
        'knn_val_dataloader.dataset.indices': 5,
    }
    cfg = load_config(name, options)
    hook = hook_of(cfg)
    assert hook.train_dataloader == cfg.knn_dataloader
    assert hook.val_dataloader == cfg.knn_val_dataloader
    assert hook.train_dataloader.batch_size == 7
    assert hook.val_dataloader.dataset.indices == 5
    assert 'indices' not in hook.train_dataloader.dataset
    assert '--cfg-options' not in ''.join(capfd.readouterr())


def test_lists_and_parts_of_variables():
    hooks = [hook.type for hook in load_config('esvit_swin_t').custom_hooks]
    number = hooks.index('KNNMonitorHook')
    cfg = load_config(
        'esvit_swin_t',
        {
            'eval_pipeline.1.scale': 300,
            'train_pipeline.1.views.0.size': 160,
            # More than the variable's
            'knn_dataloader.batch_size': 7,
            f'custom_hooks.{number}.train_dataloader.batch_size': 9,
        },
    )
    hook = hook_of(cfg)
    scales = [n['scale'] for _, n in dicts(cfg._cfg_dict) if n.get('edge') == 'short']
    assert len(scales) == 5 and set(scales) == {300}
    assert cfg.train_dataloader.dataset.pipeline[1].views[0].size == 160
    assert (cfg.knn_dataloader.batch_size, hook.train_dataloader.batch_size) == (7, 9)
    assert hook.val_dataloader.batch_size == 128


def test_of_what_a_runner_reads_the_test_is_that_of_the_validation():
    cfg = load_config('linear_swin_photos')
    assert cfg.test_dataloader == cfg.val_dataloader
    options = {'val_dataloader.batch_size': 3, 'val_evaluator.topk': (1,)}
    cfg = load_config('linear_swin_photos', options)
    assert cfg.val_dataloader.batch_size == cfg.test_dataloader.batch_size == 3
    assert cfg.val_evaluator == cfg.test_evaluator
    # But for what is said of it alone, and not the other way round
    options['test_dataloader.batch_size'] = 5
    options['val_dataloader.num_workers'] = 0
    cfg = load_config('linear_swin_photos', options)
    assert (cfg.val_dataloader.batch_size, cfg.test_dataloader.batch_size) == (3, 5)
    assert cfg.test_dataloader.num_workers == 0
    cfg = load_config('linear_swin_photos', {'test_dataloader.batch_size': 5})
    assert cfg.val_dataloader.batch_size != 5
    # Without a validation there still is the test.
    cfg = load_config('linear_swin_photos', {'val_dataloader': None})
    assert cfg.test_dataloader


def test_a_test_of_its_own_stays(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        'val_dataloader = dict(batch_size=4, num_workers=0)\n'
        'test_dataloader = dict(batch_size=2, num_workers=0)\n'
        'train_dataloader = dict(batch_size=4, num_workers=0)\n'
    )
    options = {'val_dataloader.num_workers': 3, 'train_dataloader.num_workers': 5}
    cfg = load_config(str(path), options)
    assert cfg.test_dataloader == dict(batch_size=2, num_workers=0)
    assert cfg.val_dataloader == dict(batch_size=4, num_workers=3)
    path.write_text('train_dataloader = dict(batch_size=4)\n')
    cfg = load_config(str(path), {'val_dataloader.batch_size': 3})
    assert 'test_dataloader' not in cfg


@pytest.mark.parametrize(
    ('name', 'option', 'remedy'),
    [
        ('mocov3_vit_s', 'temperature', 'Set model.head.temperature instead'),
        ('mocov3_photos', 'hid_channels', 'Set model.neck.hid_channels, model.head.'),
        ('esvit_swin_photos', 'blur_radius', 'views.0.augment.blur_radius, '),
    ],
)
def test_a_number_that_was_used_already_is_warned_of(name, option, remedy, capfd):
    load_config(name, {option: 0.5, 'knn_dataloader.batch_size': 4})
    output = ''.join(capfd.readouterr())
    assert f'--cfg-options {option}: the config file itself uses' in output
    assert remedy in output
    assert output.count('--cfg-options') == 1


def depths(cfg):
    kinds = ('LoadImage', 'LoadImageFromBytes')
    return [
        node.get('bit_depth')
        for _, node in dicts(cfg._cfg_dict)
        if node.get('type') in kinds
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'esvit_swin_folder_laptop',
        'esvit_swin_folder_knn',
        'linear_folder_laptop',
        'finetune_folder',
        'mae_lite_tiny',
    ],
)
def test_a_bit_depth_reaches_all_that_load_images(name, tmp_path, capfd):
    assert not any(depths(load_config(name)))
    found = depths(load_config(name, {'bit_depth': 12}))
    assert len(found) >= 2 and set(found) == {12}
    path = tmp_path / 'own.py'
    path.write_text(f'_base_ = {config_path(name)!r}\nbit_depth = 10\n')
    assert depths(load_config(str(path))) == [10] * len(found)
    assert depths(load_config(str(path), {'bit_depth': 14})) == [14] * len(found)
    assert '--cfg-options' not in ''.join(capfd.readouterr())


def test_mmpretrains_programs_spread_it_too(tmp_path, monkeypatch):
    """They read configs by themselves, and some steps load in another way."""
    steps = [dict(type='LoadImage'), dict(type='LoadImage', imdecode_backend='pillow')]
    cfg = Config(dict(bit_depth=12, eval_pipeline=steps, work_dir=str(tmp_path)))
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: cfg)
    monkeypatch.setattr('esvit_plugin.engine.class_count.hand_on', lambda *args: None)
    EsViTRunner.from_cfg(cfg)
    assert [step.get('bit_depth') for step in cfg.eval_pipeline] == [12, None]


def test_a_step_may_have_its_own_bit_depth(tmp_path):
    options = {'bit_depth': 12, 'train_dataloader.dataset.pipeline.0.bit_depth': 10}
    cfg = load_config('esvit_swin_folder_laptop', options)
    assert cfg.train_dataloader.dataset.pipeline[0].bit_depth == 10
    assert find_bit_depth(cfg) == 10 and cfg.eval_pipeline[0].bit_depth == 12
    path = tmp_path / 'own.py'
    load = "dict(type='LoadImage', bit_depth=9)"
    path.write_text(
        "bit_depth = 12\nfirst = dict(type='LoadImage')\n"
        f'second = {load}\ntrain_dataloader = dict(dataset=dict(pipeline=[{load}]))\n'
    )
    cfg = load_config(str(path))
    assert (cfg.first.bit_depth, cfg.second.bit_depth) == (12, 9)
    assert find_bit_depth(cfg) == 9


def test_a_bit_depth_that_nothing_takes_is_refused():
    with pytest.raises(ValueError, match='bit_depth=12: .*demo/linear_swin_photos.py'):
        load_config('linear_swin_photos', {'bit_depth': 12})
