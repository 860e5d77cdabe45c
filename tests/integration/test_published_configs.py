"""Configs of evaluations and ablations against tables of what they should say."""

import pytest
import yaml
from support.paths import CONFIGS

from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.hooks.checkpoint_hook import first_save

# Run, and the epochs whose checkpoints the linear and the k-NN evaluation read: those
# of the published numbers where the release names them, else the last. None: no config.
EPOCHS = {
    'swin_t': ('esvit_swin_t', 300, 280),
    'swin_t_view': ('esvit_swin_t_view', 300, 300),
    'swin_t_w14': ('esvit_swin_t_w14', 300, 300),
    'swin_t_view_in1k': ('esvit_swin_t_view_in1k', 300, 280),
    'swin_t_view_webvision': ('esvit_swin_t_view_webvision', 150, 150),
    'swin_t_view_openimages': ('esvit_swin_t_view_openimages', 50, 50),
    'swin_t_view_imagenet22k': ('esvit_swin_t_view_imagenet22k', 30, 30),
    'swin_s': ('esvit_swin_s', 300, 280),
    'swin_s_view': ('esvit_swin_s_view', 300, 300),
    'swin_s_w14': ('esvit_swin_s_w14', 250, 250),
    'swin_b': ('esvit_swin_b', 260, 260),
    'swin_b_view': ('esvit_swin_b_view', 260, 300),
    'swin_b_w14': ('esvit_swin_b_w14', 240, 240),
    'vil_t': ('esvit_vil_t', 300, 300),
    'vil_t_view': ('esvit_vil_t_view', None, 300),
    'vil_t_view_b1024': ('esvit_vil_t_view_b1024', 300, None),
    'cvt_t': ('esvit_cvt_t', 300, 300),
    'cvt_t_view': ('esvit_cvt_t_view', 300, 300),
    'resnet50': ('esvit_resnet50', 300, 300),
    'resnet50_view': ('esvit_resnet50_view', 300, 300),
    'deit_s': ('esvit_deit_s_view', 300, 300),
    'vit_b': ('esvit_vit_b_view', 300, 300),
}


def stems(folder):
    return {path.stem for path in (CONFIGS / folder).glob('*.py')}


def test_every_evaluation_is_in_the_table():
    for column, folder in ((1, 'linear'), (2, 'knn')):
        wanted = {f'{folder}_{name}' for name, row in EPOCHS.items() if row[column]}
        assert stems(folder) == wanted


@pytest.mark.parametrize('name', EPOCHS)
def test_evaluations_read_a_checkpoint_that_the_run_keeps(name):
    run, linear, knn = EPOCHS[name]
    training = load_config(str(CONFIGS / f'{run}.py'))
    last, keep = training.train_cfg.max_epochs, training.default_hooks.milestone

    def checkpoint(epoch):
        if epoch == last:
            return f'work_dirs/{run}/epoch_{last}.pth'
        begin = first_save(keep.save_begin, keep.interval, last)
        assert epoch >= begin and (epoch - begin) % keep.interval == 0
        return f'work_dirs/{run}/milestone_{epoch}.pth'

    if knn:
        path = CONFIGS / 'knn' / f'knn_{name}.py'
        cfg = load_config(str(path))
        assert cfg.load_from == checkpoint(knn)
        assert cfg.load_from in path.read_text().split('"""')[1]
        assert cfg.model == training.model
        assert cfg.knn == dict(k=(10, 20, 100, 200), temperature=0.07)
    if linear:
        path = CONFIGS / 'linear' / f'linear_{name}.py'
        cfg = load_config(str(path))
        init_cfg = cfg.model.backbone.init_cfg
        assert init_cfg.checkpoint == checkpoint(linear)
        assert init_cfg.checkpoint in path.read_text().split('"""')[1]
        assert init_cfg.prefix == 'teacher.backbone.'
        # The network that was trained; stochastic depth and neighbours do not matter.
        for key in ('arch', 'window_size', 'depth'):
            here, there = (
                b.get(key) for b in (cfg.model.backbone, training.model.backbone)
            )
            same = {'deit-base': 'base'}
            assert same.get(here, here) == there, key
        blocks = (1, True) if name == 'vit_b' else (4, False)
        assert (cfg.model.num_blocks, cfg.model.get('patch_mean', False)) == blocks
        assert cfg.train_cfg.val_interval == 1
        assert 'LastAndBestHook' in [hook.type for hook in cfg.custom_hooks]


def test_the_table_of_results_has_these_epochs():
    models = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']
    found = {model['Name']: model for model in models}
    longer = {'esvit_deit_s_view': 800, 'esvit_vit_b_view': 400}
    for run, linear, knn in EPOCHS.values():
        (result,) = found[run]['Results']
        assert result['Source'] and set(result['Epochs']) == set(result['Metrics'])
        kinds = {'Linear Top 1 Accuracy': linear, 'k-NN Top 1 Accuracy': knn}
        last = load_config(str(CONFIGS / f'{run}.py')).train_cfg.max_epochs
        for name, epoch in result['Epochs'].items():
            epoch = last if epoch == 'last' else epoch
            assert epoch == longer.get(run, kinds[name]), (run, name)
        assert {n for n, epoch in kinds.items() if epoch} == set(result['Metrics'])
        # Only the batch-1024 run of ViL-T was never released.
        released = 'Converted From' in found[run]
        assert released == (run != 'esvit_vil_t_view_b1024'), run


# Swin-T, L_V + L_R, and what each ablation changes.
BASE = dict(views=(2, 8), prototypes=65536, batch=512, epochs=300, share=0.5)
ABLATIONS = {
    '2x224': dict(views=(2, 0)),
    '2x224_2x96': dict(views=(2, 2)),
    '2x224_4x96': dict(views=(2, 4)),
    '2x224_6x96': dict(views=(2, 6)),
    'k1024': dict(prototypes=1024),
    'k4096': dict(prototypes=4096),
    'k16384': dict(prototypes=16384),
    'k262144': dict(prototypes=262144),
    'b128': dict(batch=128),
    'b256': dict(batch=256),
    'b1024': dict(batch=1024),
    'b2048': dict(batch=2048),
    '100e': dict(epochs=100),
    '200e': dict(epochs=200),
    '400e': dict(epochs=400),
    'r025': dict(share=0.25),
    'r075': dict(share=0.75),
    'r1': dict(share=1),
}


def test_every_ablation_is_in_the_table():
    assert stems('ablations') == {f'esvit_swin_t_{name}' for name in ABLATIONS}


@pytest.mark.parametrize('name', ABLATIONS)
def test_ablations_change_one_thing(name):
    path = CONFIGS / 'ablations' / f'esvit_swin_t_{name}.py'
    cfg = load_config(str(path))
    wanted = {**BASE, **ABLATIONS[name]}
    views = cfg.train_dataloader.dataset.pipeline[1].views
    number = {224: 0, 96: 0}
    for group in views:
        number[group.size] += group.num_views
    assert tuple(number.values()) == wanted['views']
    for part in ('neck', 'region_neck'):
        assert cfg.model[part].out_channels == wanted['prototypes']
    assert cfg.train_dataloader.batch_size * 8 == wanted['batch']
    assert cfg.auto_scale_lr.base_batch_size == wanted['batch']
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(5e-4 * wanted['batch'] / 256)
    assert cfg.train_cfg.max_epochs == wanted['epochs']
    keep = cfg.default_hooks.milestone
    begin = first_save(keep.save_begin, keep.interval, wanted['epochs'])
    assert begin == round(wanted['epochs'] / 15) * 10
    assert cfg.model.get('region_weight', 0.5) == wanted['share']
    # The rest is the base config's.
    base = load_config(str(CONFIGS / 'esvit_swin_t.py'))
    changed = set(ABLATIONS[name])
    for key in ('param_scheduler', 'custom_hooks', 'env_cfg', 'sync_bn'):
        assert cfg[key] == base[key], key
    if changed != {'views'}:
        assert cfg.train_dataloader.dataset == base.train_dataloader.dataset
    if not changed & {'prototypes', 'share'}:
        assert cfg.model == base.model
    assert len(path.read_text().splitlines()) < 30
