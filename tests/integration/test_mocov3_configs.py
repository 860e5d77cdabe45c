"""MoCo v3's ablations and evaluations: the paper's values, and one step of each."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from support import made_up_data
from support.paths import CONFIGS
from support.small_configs import VIT, WIDTH, small_backbone
from support.training import one_epoch

from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.launch import build_runner

FOLDER = CONFIGS / 'mocov3'
# What differs from mocov3_vit_b, by dotted name (arXiv 2104.02057, Section 5).
SHORT = {'train_cfg.max_epochs': 100}
TRAINED = {'model.backbone.stop_grad_conv1': False, **SHORT}


def batch(number):
    return {
        **TRAINED,
        'train_dataloader.batch_size': number // 16,
        'optim_wrapper.optimizer.lr': pytest.approx(1e-4 * number / 256),
        'auto_scale_lr.base_batch_size': number,
    }


POOLED = {
    'model.backbone.with_cls_token': False,
    'model.backbone.out_type': 'featmap',
    'model.neck.with_avg_pool': True,
}
NO_NORM = {
    f'model.{part}.{key}': value
    for part in ('neck', 'head.predictor')
    for key, value in {
        'norm_cfg.type': 'torch.nn.Identity',
        'with_last_bn': False,
    }.items()
}
ABLATIONS = {
    'pos_learned': {'model.backbone.position': 'learned'},
    'pos_none': {'model.backbone.position': 'none'},
    'ln_pool': POOLED,
    'pool': {**POOLED, 'model.backbone.final_norm': False},
    'no_head_bn': NO_NORM,
    'no_predictor': {'model.head.predictor': dict(type='torch.nn.Identity')},
    'm0': {'model.base_momentum': 1.0, 'model.end_momentum': 1.0},
    'm09': {'model.base_momentum': 0.1},
    'm0999': {'model.base_momentum': 0.001},
    'patch_trained': TRAINED,
    'b1024': batch(1024),
    'b2048': batch(2048),
    'b4096': batch(4096),
    'b6144': batch(6144),
    'lamb': {
        **SHORT,
        'optim_wrapper.optimizer': dict(
            type='timm.optim.Lamb', lr=8e-3, weight_decay=1e-3, max_grad_norm=None
        ),
    },
}


def flatten(value, wanted, name=''):
    """Settings by dotted name; of what is wanted whole, whole."""
    if not isinstance(value, dict) or name in wanted:
        return {name: value}
    found = {}
    for key, inner in value.items():
        found.update(flatten(inner, wanted, f'{name}.{key}' if name else key))
    return found


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """ImageNet-1K of two images in each split."""
    return made_up_data.imagenet(tmp_path_factory.mktemp('data') / 'imagenet')


def ablation(name):
    return str(FOLDER / 'ablations' / f'mocov3_vit_b_{name}.py')


def test_all_ablations_are_in_the_table():
    found = {path.stem for path in (FOLDER / 'ablations').glob('*.py')}
    assert found == {f'mocov3_vit_b_{name}' for name in ABLATIONS}


@pytest.mark.parametrize('name', ABLATIONS)
def test_an_ablation_changes_what_the_paper_says(name):
    wanted = ABLATIONS[name]
    base = flatten(load_config(str(FOLDER / 'mocov3_vit_b.py')).to_dict(), wanted)
    ours = flatten(load_config(ablation(name)).to_dict(), wanted)
    # A variable of the file itself
    changed = {
        key: value
        for key, value in ours.items()
        if base.get(key) != value and key.split('.')[0] != 'norm_cfg'
    }
    assert set(changed) <= set(wanted)
    assert {key: ours[key] for key in wanted} == wanted


# The rest differ by numbers alone.
BUILT = ('pos_learned', 'ln_pool', 'no_head_bn', 'no_predictor', 'm0', 'lamb')


@pytest.mark.parametrize('name', BUILT)
def test_an_ablation_takes_a_step(name, imagenet, tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    path = ablation(name)
    training = {
        key: value
        for key, value in one_epoch(tmp_path, imagenet).items()
        if 'val_' not in key
    }
    options = training | {
        **small_backbone(load_config(path).model.backbone),
        'model.neck.in_channels': WIDTH,
        'model.neck.hid_channels': 16,
        'custom_hooks': [],
    }
    if name != 'no_predictor':
        options['model.head.predictor.hid_channels'] = 16
    runner = build_runner(load_config(path, options))
    before = {n: p.clone() for n, p in runner.model.named_parameters()}
    runner.train()
    moved = {
        n for n, p in runner.model.named_parameters() if not torch.equal(p, before[n])
    }
    assert 'backbone.layers.0.attn.qkv.weight' in moved
    assert ('backbone.pos_embed' in moved) == (name == 'pos_learned')
    norms = [m for m in runner.model.modules() if 'BatchNorm' in type(m).__name__]
    assert bool(norms) == (name != 'no_head_bn')


def evaluation(name):
    return str(FOLDER / 'evaluation' / f'{name}.py')


NAMES = sorted(path.stem for path in (FOLDER / 'evaluation').glob('*.py'))
LINEAR = {
    'linear_mocov3_vit_t': (12, 3.0, 192),
    'linear_mocov3_vit_s': (12, 3.0, 384),
    'linear_mocov3_vit_b': (12, 3.0, 768),
    'linear_mocov3_vit_l': (16, 3.0, 1024),
    'linear_mocov3_resnet50': (None, 0.1, 2048),
}
FINETUNE = {
    'finetune_mocov3_vit_s': (300, 5e-4 * 2, 5, 1000),
    'finetune_mocov3_vit_b': (150, 5e-4 * 2, 5, 1000),
    'finetune_mocov3_vit_l': (100, 5e-4 * 2, 5, 1000),
    'transfer_mocov3_vit_b_cifar10': (100, 3e-4, 3, 10),
    'transfer_mocov3_vit_b_cifar100': (100, 3e-4, 3, 100),
    'transfer_mocov3_vit_b_flowers102': (100, 3e-4, 3, 102),
    'transfer_mocov3_vit_b_oxford_pets': (100, 3e-4, 3, 37),
}
ARCHS = 'vit_t', 'vit_s', 'vit_b', 'vit_l', 'resnet50'
KNN = {f'knn_mocov3_{name}' for name in ARCHS}
TINY = 'finetune_mocov3_vit_t'


def heads_of(backbone):
    kind = MODELS.get(backbone['type'])
    arch = backbone['arch']
    return (arch if isinstance(arch, dict) else kind.arch_zoo[arch])['num_heads']


def test_all_evaluations_are_in_the_tables():
    assert set(NAMES) == {*LINEAR, *FINETUNE, *KNN, TINY}
    for name in KNN:
        cfg = load_config(evaluation(name))
        pretraining = name.removeprefix('knn_')
        epochs = load_config(str(FOLDER / f'{pretraining}.py')).train_cfg.max_epochs
        assert cfg.load_from == f'work_dirs/{pretraining}/epoch_{epochs}.pth'
        assert cfg.model == load_config(str(FOLDER / f'{pretraining}.py')).model


@pytest.mark.parametrize('name', LINEAR)
def test_linear_evaluations_have_the_papers_settings(name):
    heads, rate, width = LINEAR[name]
    cfg = load_config(evaluation(name))
    assert cfg.train_cfg.max_epochs == 90
    assert cfg.train_dataloader.batch_size * 8 == 1024
    optimizer = dict(type='SGD', lr=rate * 4, momentum=0.9, weight_decay=0.0)
    assert cfg.optim_wrapper.optimizer == optimizer
    assert cfg.model.lr_factors == (1.0,) and cfg.model.num_blocks == 1
    assert not cfg.model.get('patch_mean') and cfg.model.in_channels == width
    assert cfg.model.backbone.init_cfg.prefix == 'backbone.'
    if heads:
        assert heads_of(cfg.model.backbone) == heads


@pytest.mark.parametrize('name', FINETUNE)
def test_fine_tuning_has_deits_recipe(name):
    epochs, rate, warmup, classes = FINETUNE[name]
    cfg = load_config(evaluation(name))
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.train_dataloader.batch_size * 8 == 1024
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == dict(
        type='AdamW', lr=rate, betas=(0.9, 0.999), weight_decay=0.05, fused=True
    )
    assert 'constructor' not in wrapper and 'clip_grad' not in wrapper
    start, cosine = cfg.param_scheduler
    assert start.end == cosine.begin == warmup
    model = cfg.model
    large = name.endswith('vit_l')
    assert model.backbone.drop_path_rate == (0.5 if large else 0.1)
    assert heads_of(model.backbone) == (16 if large else 12)
    assert model.head.num_classes == model.data_preprocessor.num_classes == classes
    assert model.head.loss.label_smooth_val == 0.1
    alphas = {augment['type']: augment['alpha'] for augment in model.train_cfg.augments}
    assert alphas == dict(Mixup=0.8, CutMix=1.0)
    steps = [step['type'] for step in cfg.train_dataloader.dataset.pipeline]
    assert steps[1:] == [
        *('RandomResizedCrop', 'RandomFlip'),
        *('RandAugment', 'RandomErasing', 'PackInputs'),
    ]
    arrays = 'cifar' in name
    assert steps[0] == ('ArrayToBGR' if arrays else 'LoadImage')


def test_tiny_is_fine_tuned_as_mae_lite_but_for_the_layer_decay():
    cfg = load_config(evaluation(TINY))
    name = 'finetune_mae_lite_tiny_improved.py'
    other = load_config(str(FOLDER.parent / 'mae_lite' / name))
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.75
    assert cfg.model.backbone.init_cfg.checkpoint == (
        'work_dirs/mocov3_vit_t/epoch_400.pth'
    )
    assert heads_of(cfg.model.backbone) == 12
    cfg.optim_wrapper.paramwise_cfg.layer_decay_rate = 0.85
    cfg.model.backbone.init_cfg = other.model.backbone.init_cfg
    assert cfg.to_dict() == other.to_dict()


@pytest.mark.parametrize('name', ['linear_mocov3_vit_s', 'finetune_mocov3_vit_s'])
def test_an_evaluation_trains_on_weights_with_its_heads_alone(
    name, imagenet, tmp_path, monkeypatch
):
    path = evaluation(name)
    checkpoint = tmp_path / 'pretrained.pth'
    options = one_epoch(tmp_path, imagenet) | {
        'model.backbone.init_cfg.checkpoint': str(checkpoint),
        'model.backbone.arch': dict(VIT, num_heads=12),
    }
    key = 'model.in_channels' if 'linear' in name else 'model.head.in_channels'
    options[key] = WIDTH
    cfg = load_config(path, options)
    source = MODELS.build(dict(cfg.model.backbone, init_cfg=None))
    weights = {f'backbone.{k}': v for k, v in source.state_dict().items()}
    for heads in (6, 12):
        backbone = dict(cfg.model.backbone, arch=dict(VIT, num_heads=heads))
        backbone['arch'].pop('_delete_', None)
        text = Config(dict(model=dict(type='MoCoV3', backbone=backbone))).pretty_text
        torch.save(dict(meta=dict(cfg=text), state_dict=weights), checkpoint)
        runner = build_runner(load_config(path, options))
        if heads == 6:
            with pytest.raises(ValueError, match='with 6 attention heads.* has 12'):
                runner.train()
            continue
        runner.train()
    moved = not torch.equal(
        runner.model.backbone.layers[0].attn.qkv.weight,
        source.layers[0].attn.qkv.weight,
    )
    assert moved == ('finetune' in name)
