"""The baselines have their published settings, and train through the Runner."""

import inspect
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmpretrain.registry import MODELS, TRANSFORMS
from support import made_up_data
from support.paths import CONFIGS
from support.small_configs import WIDTH, small_backbone

from esvit_plugin.engine.configs import drop_late_schedules, load_config
from esvit_plugin.engine.launch import build_runner
from esvit_plugin.models.view_and_regions import split_features

# Published by MoCo-v3 (arXiv 2104.02057 and its CONFIG.md), MAE (arXiv 2111.06377) and
# SimMIM (arXiv 2111.09886, mmpretrain's Swin-B); ``rate`` is for 256 images.
MOCO = dict(
    type='ReleasedMoCoV3',
    optimizer='AdamW',
    rate=1.5e-4,
    decay=0.1,
    warmup=40,
    epochs=300,
    batch=1024,
    gpus=8,
    temperature=0.2,
    scale=(0.08, 1.0),
)
VIT_4096 = dict(MOCO, batch=4096, gpus=16, heads=12, frozen=True)
RESNET = dict(
    MOCO,
    optimizer='timm.optim.Lars',
    rate=0.3,
    decay=1e-6,
    warmup=10,
    batch=4096,
    temperature=1.0,
    scale=(0.2, 1.0),
)
MAE = dict(
    type='MAE',
    optimizer='AdamW',
    rate=1.5e-4,
    decay=0.05,
    warmup=40,
    epochs=300,
    batch=4096,
    gpus=8,
)
TABLE = {
    'mocov3_swin_t': MOCO,
    'mocov3_vil_t': MOCO,
    'mocov3_cvt_t': MOCO,
    'mocov3_resnet50': RESNET,
    'mocov3_resnet50_100e': dict(RESNET, rate=0.6, epochs=100),
    'mocov3_resnet50_1000e': dict(RESNET, decay=1.5e-6, epochs=1000, momentum=0.996),
    'mocov3_vit_t': dict(MOCO, epochs=400, heads=12, width=192, frozen=False),
    'mocov3_vit_s': dict(VIT_4096, width=384),
    'mocov3_vit_b': dict(VIT_4096, width=768),
    'mocov3_vit_l': dict(VIT_4096, width=1024, heads=16, blocks=24, gpus=64),
    'mocov3_vit_conv_s': dict(VIT_4096, width=384, blocks=11, frozen=False),
    'mae_vit_b': MAE,
    'mae_deit_s': MAE,
    'simmim_swin_t': dict(
        MAE, type='SimMIM', rate=1e-4, warmup=10, epochs=100, batch=2048
    ),
}
MMPRETRAIN = {
    'mocov3_resnet50': 'mocov3/mocov3_resnet50_8xb512-amp-coslr-300e_in1k.py',
    'mocov3_vit_s': 'mocov3/mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k.py',
    'mocov3_vit_b': 'mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k.py',
    'mae_vit_b': 'mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py',
    'simmim_swin_t': 'simmim/simmim_swin-base-w6_8xb256-amp-coslr-100e_in1k-192px.py',
}


def config_of(name):
    method, _, _ = name.partition('_')
    return str(CONFIGS / method / f'{name}.py')


def test_every_baseline_is_in_the_table():
    found = {
        path.stem
        for method in ('mocov3', 'mae', 'simmim')
        for path in (CONFIGS / method).glob('*.py')
    }
    assert found == set(TABLE)


@pytest.mark.parametrize('name', TABLE)
def test_settings_are_the_published_ones(name):
    wanted = TABLE[name]
    cfg = load_config(config_of(name))
    assert cfg.model.type == wanted['type']
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == wanted['optimizer']
    assert optimizer.lr == pytest.approx(wanted['rate'] * wanted['batch'] / 256)
    assert optimizer.weight_decay == wanted['decay']
    assert cfg.train_dataloader.batch_size * wanted['gpus'] == wanted['batch']
    assert cfg.auto_scale_lr == dict(base_batch_size=wanted['batch'], enable=False)
    assert cfg.train_cfg.max_epochs == wanted['epochs']
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == wanted['warmup']
    assert 'end' not in cosine
    pipeline = cfg.train_dataloader.dataset.pipeline
    if wanted['type'] == 'ReleasedMoCoV3':
        momentum = wanted.get('momentum', 0.99)
        assert cfg.model.base_momentum == pytest.approx(1 - momentum)
        assert 'end_momentum' not in cfg.model
        check_mocov3(name, cfg, wanted)
        assert cfg.model.head.temperature == wanted['temperature']
        assert cfg.model.head.loss.loss_weight == 2 * wanted['temperature']
        crop = TRANSFORMS.build(pipeline[1])
        assert crop.interpolation.value == 'bilinear'
        assert [(group.size, group.scale) for group in crop.groups] == [
            (224, wanted['scale'])
        ] * 2
        probs = [(g.augment.blur_prob, g.augment.solarize_prob) for g in crop.groups]
        assert probs == [(1.0, 0.0), (0.1, 0.2)]
        for group in crop.groups:
            augment = group.augment
            assert augment.color_jitter == (0.4, 0.4, 0.2, 0.1)
            assert (augment.color_jitter_prob, augment.gray_prob) == (0.8, 0.2)
            assert (augment.flip_prob, augment.blur_radius) == (0.5, (0.1, 2.0))
    else:
        size, scale = (224, (0.2, 1.0)) if name[:3] == 'mae' else (192, (0.67, 1.0))
        assert pipeline[1].scale == size
        assert pipeline[1].crop_ratio_range == scale


def check_mocov3(name, cfg, wanted):
    """Network, heads and decay of MoCo v3."""
    model = cfg.model
    wrapper = cfg.optim_wrapper
    # All is decayed with AdamW, and nothing clipped; LARS leaves out what is 1-d.
    matrices = dict(constructor='MatrixDecayOptimWrapperConstructor')
    rest = {k: v for k, v in wrapper.items() if k not in ('type', 'optimizer')}
    assert rest == (matrices if 'resnet' in name else {})
    mlp = dict(hid_channels=4096, out_channels=256, with_last_bn_affine=False)
    for part, layers, last in (
        (model.neck, 2 if 'resnet' in name else 3, True),
        (model.head.predictor, 2, 'resnet' not in name),
    ):
        full = complete(part)
        assert full['num_layers'] == layers and full['with_last_bn'] == last
        assert not full['with_bias'] and not full['with_last_bias']
        assert mlp.items() <= full.items()
    if 'resnet' in name:
        assert model.backbone.zero_init_residual
    if 'heads' not in wanted:
        return
    backbone = complete(model.backbone)
    arch = MODELS.get(backbone['type']).arch_zoo[backbone['arch']]
    width = wanted['width']
    assert arch == dict(
        embed_dims=width,
        num_layers=wanted.get('blocks', 12),
        num_heads=wanted['heads'],
        feedforward_channels=4 * width,
    )
    assert backbone['position'] == 'sincos' and backbone['patch_size'] == 16
    assert backbone['stop_grad_conv1'] == wanted['frozen']
    assert backbone['conv_stem'] == ('conv' in name)
    assert not model.neck.with_avg_pool and model.neck.in_channels == width


def complete(part):
    """The config of a module with its defaults, but for what the device decides."""
    if 'type' not in part:
        return part
    defaults = inspect.signature(MODELS.get(part['type'])).parameters
    full = {key: value.default for key, value in defaults.items()}
    full.update(part)
    full.pop('norm_cfg', None)
    return {k: complete(v) if isinstance(v, dict) else v for k, v in full.items()}


@pytest.mark.parametrize('name', MMPRETRAIN)
def test_parts_are_those_of_mmpretrain(name):
    cfg = load_config(config_of(name))
    theirs = get_config(f'mmpretrain::{MMPRETRAIN[name]}')
    parts = ['neck', 'head', 'backbone']
    if name == 'mocov3_resnet50':
        # Its last batch norms begin at 0, and its LARS is timm's.
        theirs.model.backbone.zero_init_residual = True
    else:
        # The same step in one kernel, which needs no word from the device.
        theirs.optim_wrapper.optimizer.fused = True
        assert cfg.optim_wrapper.optimizer == theirs.optim_wrapper.optimizer
    if name.startswith('mocov3_vit'):
        parts.remove('backbone')  # of a class of its own
    assert cfg.model.get('base_momentum') == theirs.model.get('base_momentum')
    if name == 'simmim_swin_t':  # of Swin-B
        theirs.model.neck.in_channels = 768
        theirs.model.backbone.arch = 'tiny'
    for part in parts:
        assert complete(cfg.model[part]) == complete(theirs.model[part]), part
    rates = [
        [s.get(key, 0) for key in ('start_factor', 'eta_min')]
        for s in (*cfg.param_scheduler, *theirs.param_scheduler)
    ]
    assert rates[:2] == [pytest.approx(rate) for rate in rates[2:]]


class Record(Hook):
    """Keeps what the one step gave."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.loss = outputs['loss']
        self.inputs = data_batch['inputs']


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """ImageNet-1K of two images in each split."""
    return made_up_data.imagenet(tmp_path_factory.mktemp('data') / 'imagenet')


@pytest.mark.parametrize('name', TABLE)
def test_one_iteration(name, imagenet, tmp_path, monkeypatch):
    # Formatting the config for the log takes longer than the step.
    monkeypatch.setattr(Config, 'pretty_text', '')
    path = config_of(name)
    model = load_config(path).model
    options = {
        'work_dir': str(tmp_path),
        'data_root': f'{imagenet}/',
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.save_last': False,
        'visualizer.vis_backends': [],
        **small_backbone(model.backbone),
    }
    if model.type == 'MAE':
        options['model.neck.embed_dim'] = WIDTH
        options['model.neck.decoder_depth'] = 1
    else:
        options['model.neck.in_channels'] = WIDTH
    if model.type == 'ReleasedMoCoV3':
        options['model.neck.hid_channels'] = 64
        for part in ('train', 'val'):
            options[f'custom_hooks.1.{part}_dataloader.num_workers'] = 0
        options['model.head.predictor.hid_channels'] = 64
    cfg = load_config(path, options)
    drop_late_schedules(cfg)
    runner = build_runner(cfg)
    record = Record()
    runner.register_hook(record, 'LOWEST')
    runner.train()
    assert record.loss.isfinite() and record.loss > 0
    scalars = runner.message_hub.log_scalars
    assert scalars['train/grad_norm_first'].current() > 0
    # Blocks of MoCo v3's ResNet begin as identities, so they have no gradient yet.
    resnet = 'resnet' in name
    assert (scalars['train/grad_norm_last'].current() > 0) != resnet
    shape = {'ReleasedMoCoV3': (2, 2, 3, 224, 224), 'SimMIM': (2, 3, 192, 192)}
    views = record.inputs[0] if model.type == 'ReleasedMoCoV3' else record.inputs
    assert views.shape == shape.get(model.type, (2, 3, 224, 224))
    # Every layer has had a gradient, which the optimiser remembers.
    state = runner.optim_wrapper.optimizer.state
    for key, param in runner.model.named_parameters():
        identity = resnet and re.search(r'layer\d\.\d\.(conv|bn[12])', key)
        if param.requires_grad and key.endswith('weight') and not identity:
            moments = [v for v in state[param].values() if v.shape == param.shape]
            assert moments and all(moment.any() for moment in moments), key


# MoCo v3's ViTs have other heads, and SimMIM has windows of its own.
@pytest.mark.parametrize(
    'name',
    [
        name
        for name in TABLE
        if '_vit_' not in name and name[-1] != 'e' and name[:3] != 'sim'
    ],
)
def test_networks_are_those_of_esvit(name):
    _, _, backbone = name.partition('_')
    theirs = load_config(str(CONFIGS / f'esvit_{backbone}.py'))
    ours = load_config(config_of(name))
    images = torch.randn(1, 3, 224, 224)
    views = []
    weights = None
    for cfg in (ours, theirs):
        backbone = MODELS.build(cfg.model.backbone)
        weights = weights or backbone.state_dict()
        backbone.load_state_dict(weights)
        backbone.eval()
        mask = dict(mask=None) if cfg.model.type == 'MAE' else {}
        with torch.no_grad():
            last = backbone(images, **mask)[-1]
        views.append(last if last.dim() == 2 else split_features(backbone, last)[0])
    torch.testing.assert_close(*views)
