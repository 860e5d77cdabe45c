"""MAE-lite's configs have its published settings, and train through the Runner."""

import re

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import DATASETS, MODELS
from support import made_up_data, made_up_transfer
from support.mae import ARCH
from support.paths import CONFIGS
from support.small_configs import VIT, VIT_DEPTH, WIDTH
from support.training import one_epoch

from esvit_plugin.engine.configs import drop_late_schedules, load_config
from esvit_plugin.engine.launch import build_runner

FOLDER = CONFIGS / 'mae_lite'
# arXiv 2205.14443; rates are for 256 images.
TINY = dict(width=192, heads=12, decoder=(96, 1, 3))
SMALL = dict(width=384, heads=12, decoder=(192, 1, 6))
PRETRAINING = {
    'mae_lite_tiny': TINY,
    'mae_lite_small': SMALL,
    'dmae_tiny': dict(TINY, teacher='timm::vit_base_patch16_224.mae'),
    'dmae_small': dict(SMALL, teacher='timm::vit_base_patch16_224.mae'),
}
DEFAULT = dict(
    width=192,
    epochs=100,
    decay=0.85,
    drop_path=0.1,
    smoothing=0.1,
    augments=dict(Mixup=0.8, CutMix=1.0),
    magnitude=9,
    erasing=0.25,
    jitter=None,
)
IMPROVED = dict(
    DEFAULT,
    epochs=300,
    drop_path=0.0,
    smoothing=0.0,
    augments=dict(Mixup=0.2),
    magnitude=10,
    erasing=None,
    jitter=0.3,
)
FINETUNING = {
    'finetune_mae_lite_tiny': DEFAULT,
    'finetune_mae_lite_tiny_improved': IMPROVED,
    'finetune_mae_lite_tiny_distilled': DEFAULT,
    'finetune_mae_lite_tiny_improved_distilled': IMPROVED,
    'finetune_mae_lite_small': dict(DEFAULT, width=384, decay=0.75),
    'finetune_mae_lite_small_improved': dict(IMPROVED, width=384, decay=0.75),
}
# Data set and the splits of training and test
TRANSFER = {
    'cifar10': ('train', 'test'),
    'cifar100': ('train', 'test'),
    'fgvc_aircraft': ('trainval', 'test'),
    'flowers102': ('trainval', 'test'),
    'oxford_pets': ('trainval', 'test'),
    'stanford_cars': ('train', 'test'),
}
EVALUATIONS = [
    f'{k}_mae_lite_{n}' for k in ('knn', 'linear') for n in ('tiny', 'small')
]


def config_of(name):
    return str(FOLDER / f'{name}.py')


def test_every_config_is_in_a_table():
    transfer = {f'finetune_mae_lite_tiny_{name}' for name in TRANSFER}
    wanted = {*PRETRAINING, *FINETUNING, *transfer, *EVALUATIONS}
    assert {path.stem for path in FOLDER.glob('*.py')} == wanted


@pytest.mark.parametrize('name', PRETRAINING)
def test_pretraining_is_the_published_one(name):
    wanted, cfg = PRETRAINING[name], load_config(config_of(name))
    backbone, neck, head = cfg.model.backbone, cfg.model.neck, cfg.model.head
    width = wanted['width']
    assert backbone.arch == dict(
        embed_dims=width, num_layers=12, num_heads=12, feedforward_channels=4 * width
    )
    assert (backbone.img_size, backbone.patch_size, backbone.mask_ratio) == (
        224,
        16,
        0.75,
    )
    decoder = neck.decoder_embed_dim, neck.decoder_depth, neck.decoder_num_heads
    assert decoder == wanted['decoder'] and neck.embed_dim == width
    assert head.norm_pix is True and head.loss.criterion == 'L2'
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.betas) == ('AdamW', (0.9, 0.95))
    assert optimizer.lr == pytest.approx(1.5e-4 * 4096 / 256)
    assert optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.paramwise_cfg == dict(flat_decay_mult=0.0)
    assert cfg.optim_wrapper.get('clip_grad') is None
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size
    assert cfg.auto_scale_lr.base_batch_size == 4096
    assert cfg.train_cfg.max_epochs == 400
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == 40 and cosine.get('eta_min', 0) == 0
    assert warmup.convert_to_iter_based and cosine.convert_to_iter_based
    crop, flip = cfg.train_dataloader.dataset.pipeline[1:3]
    assert (crop.scale, crop.crop_ratio_range) == (224, (0.08, 1.0))
    assert (flip.type, flip.prob) == ('RandomFlip', 0.5)
    assert len(cfg.train_dataloader.dataset.pipeline) == 4
    assert cfg.randomness.diff_rank_seed is True
    if 'teacher' in wanted:
        teacher = cfg.model.target_generator
        assert teacher.checkpoint == wanted['teacher']
        assert teacher.backbone.arch == 'base' and teacher.backbone.mask_ratio == 0.75
        assert (cfg.model.type, cfg.model.distill_weight) == ('DistilledMAE', 1.0)
    else:
        assert cfg.model.type == 'MAE'


def check_vit(backbone, width):
    """The pre-trained network, with the mean of its patches normalised."""
    assert backbone.type == 'VisionTransformer'
    assert (backbone.arch.embed_dims, backbone.arch.num_heads) == (width, 12)
    assert backbone.arch.feedforward_channels == 4 * width
    assert backbone.init_cfg.prefix == 'backbone.'
    name = 'tiny' if width == 192 else 'small'
    path = f'work_dirs/mae_lite_{name}/epoch_400.pth'
    assert backbone.init_cfg.checkpoint == path


@pytest.mark.parametrize('name', FINETUNING)
def test_fine_tuning_is_the_published_one(name):
    wanted, cfg = FINETUNING[name], load_config(config_of(name))
    model, wrapper = cfg.model, cfg.optim_wrapper
    check_vit(model.backbone, wanted['width'])
    assert model.backbone.drop_path_rate == wanted['drop_path']
    assert model.backbone.final_norm is False
    assert model.head.loss.label_smooth_val == wanted['smoothing']
    assert {a.type: a.alpha for a in model.train_cfg.augments} == wanted['augments']
    assert wrapper.optimizer.lr == pytest.approx(1e-3 * 1024 / 256)
    assert wrapper.optimizer.betas == (0.9, 0.999)
    assert wrapper.optimizer.weight_decay == 0.05 and wrapper.clip_grad is None
    assert wrapper.paramwise_cfg.layer_decay_rate == wanted['decay']
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size
    assert cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.train_cfg.max_epochs == wanted['epochs']
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == 5 and cosine.eta_min == 1e-6
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    augment = steps['RandAugment']
    assert (augment.magnitude_level, augment.magnitude_std) == (
        wanted['magnitude'],
        0.5,
    )
    assert augment.policies == 'timm_increasing'
    erasing = steps.get('RandomErasing')
    assert (erasing.erase_prob if erasing else None) == wanted['erasing']
    jitter = steps.get('ColorJitter', {})
    for part in ('brightness', 'contrast', 'saturation'):
        assert jitter.get(part) == wanted['jitter']
    if name.endswith('_distilled'):
        assert model.type == 'HardDistilledClassifier'
        assert model.backbone.out_type == 'raw'
        assert (model.head.type, model.head.distill_weight) == (
            'DistilledLinearClsHead',
            0.5,
        )
        assert model.teacher.model_name == 'regnety_160'
        assert model.teacher.checkpoint == 'timm::regnety_160.deit_in1k'
    else:
        assert model.type == 'ImageClassifier'
        assert model.backbone.out_type == 'avg_featmap'


def test_longer_fine_tuning_by_one_option():
    cfg = load_config(
        config_of('finetune_mae_lite_tiny_improved'), {'train_cfg.max_epochs': 1000}
    )
    assert cfg.train_cfg.max_epochs == 1000
    assert 'end' not in cfg.param_scheduler[1]  # the schedule ends with it


@pytest.mark.parametrize('name', TRANSFER)
def test_transfer_is_the_published_one(name):
    cfg = load_config(config_of(f'finetune_mae_lite_tiny_{name}'))
    data = load_config(str(CONFIGS / 'transfer' / f'{name}.py'))
    check_vit(cfg.model.backbone, 192)
    assert cfg.model.backbone.out_type == 'avg_featmap'
    assert cfg.model.backbone.drop_path_rate == 0.0
    assert cfg.model.head.loss.type == 'CrossEntropyLoss'
    assert cfg.model.train_cfg is None
    assert cfg.model.head.num_classes == data.num_classes
    assert cfg.model.data_preprocessor.num_classes == data.num_classes
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    for loader, split in zip(loaders, (*TRANSFER[name], TRANSFER[name][1])):
        dataset = loader.dataset
        assert (dataset.type, dataset.data_root, dataset.split) == (
            data.test.type,
            data.data_root,
            split,
        )
        first = data.test.pipeline[0]
        assert dataset.pipeline[0] == first
    steps = [s.type for s in cfg.train_dataloader.dataset.pipeline[1:]]
    assert steps == ['RandomResizedCrop', 'RandomFlip', 'PackInputs']
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)
    assert cfg.optim_wrapper.optimizer == optimizer
    assert cfg.optim_wrapper.clip_grad.max_norm == 1
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.75
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size
    assert cfg.auto_scale_lr.base_batch_size == 512
    assert cfg.train_cfg.max_epochs == 50
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == 10


@pytest.mark.parametrize('name', TRANSFER)
def test_transfer_reads_the_layouts(name, tmp_path, monkeypatch):
    made_up_transfer.stand_in(monkeypatch)
    made_up_transfer.MAKERS[name](tmp_path)
    if name == 'fgvc_aircraft':
        lists = tmp_path / 'data'
        text = (lists / 'images_variant_train.txt').read_text()
        (lists / 'images_variant_trainval.txt').write_text(text)
    options = dict(data_root=str(tmp_path))
    cfg = load_config(config_of(f'finetune_mae_lite_tiny_{name}'), options)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        item = DATASETS.build(loader.dataset)[0]
        assert item['inputs'].shape == (3, 224, 224)
        assert item['data_samples'].gt_label < cfg.num_classes


@pytest.mark.parametrize('name', EVALUATIONS)
def test_evaluations_are_of_the_pre_training(name):
    kind, _, _, size = name.split('_')
    cfg = load_config(config_of(name))
    training = load_config(config_of(f'mae_lite_{size}'))
    width = training.model.backbone.arch.embed_dims
    if kind == 'knn':
        assert cfg.model == training.model
        assert cfg.load_from == f'work_dirs/mae_lite_{size}/epoch_400.pth'
    else:
        check_vit(cfg.model.backbone, width)
        assert cfg.model.backbone.out_type == 'raw'
        assert cfg.model.in_channels == 4 * width


class Record(Hook):
    """Keeps the losses of the one step."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = {k: v for k, v in outputs.items() if 'loss' in k}


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """ImageNet-1K of two images in each split."""
    return made_up_data.imagenet(tmp_path_factory.mktemp('data') / 'imagenet')


def one_step(cfg):
    """Train and give the runner, the losses and the model's parameters by name."""
    drop_late_schedules(cfg)
    runner = build_runner(cfg)
    record = Record()
    runner.register_hook(record, 'LOWEST')
    runner.train()
    losses = record.losses
    assert losses.pop('loss') > 0 and all(v > 0 for v in losses.values())
    # Every layer has had a gradient, which the optimiser remembers.
    state = runner.optim_wrapper.optimizer.state
    for key, param in runner.model.named_parameters():
        if param.requires_grad and key.endswith('weight'):
            moments = [v for v in state[param].values() if v.shape == param.shape]
            assert moments and all(moment.any() for moment in moments), key
    return runner, set(losses)


@pytest.mark.slow
@pytest.mark.parametrize('name', PRETRAINING)
def test_one_iteration_of_pretraining(name, imagenet, tmp_path, monkeypatch):
    # Formatting the config for the log takes longer than the step.
    monkeypatch.setattr(Config, 'pretty_text', '')
    arch = dict(ARCH, num_heads=12)
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
        'model.backbone.arch': dict(arch, _delete_=True),
        'model.neck.embed_dim': 48,
    }
    if name.startswith('dmae'):
        path = tmp_path / 'teacher.pth'
        teacher = MODELS.build(dict(type='MAELiteViT', arch=arch))
        teacher.init_weights()
        torch.save(dict(model=teacher.state_dict()), path)
        options['model.target_generator.checkpoint'] = str(path)
        options['model.target_generator.backbone.arch'] = dict(arch, _delete_=True)
    cfg = load_config(config_of(name), options)
    runner, losses = one_step(cfg)
    groups = runner.optim_wrapper.optimizer.param_groups
    decayed = {g['params'][0].ndim > 1: g['weight_decay'] for g in groups}
    assert decayed == {True: 0.05, False: 0.0}
    distilled = {'loss_pixel', 'loss_attention'}
    assert losses == (distilled if name.startswith('dmae') else set())
    assert not any('target' in key for key in runner.model.state_dict())


def save_pretrained(path):
    """A small encoder, and a checkpoint with it."""
    arch = {k: v for k, v in VIT.items() if k != '_delete_'}
    encoder = MODELS.build(dict(type='MAELiteViT', arch=arch))
    encoder.init_weights()
    weights = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    torch.save(dict(state_dict=weights), path)
    return encoder


# Small differs from Tiny in width and layer decay alone.
@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in FINETUNING if 'small' not in name])
def test_one_iteration_of_fine_tuning(name, imagenet, tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    options = one_epoch(tmp_path, imagenet)
    options['model.backbone.arch'] = VIT
    options['model.head.in_channels'] = WIDTH
    options['model.backbone.init_cfg.checkpoint'] = str(tmp_path / 'mae.pth')
    if name.endswith('_distilled'):
        teacher = timm.create_model('test_resnet')
        torch.save(teacher.state_dict(), tmp_path / 'regnet.pth')
        options['model.teacher.checkpoint'] = str(tmp_path / 'regnet.pth')
        options['model.teacher.model_name'] = 'test_resnet'
    cfg = load_config(config_of(name), options)
    pretrained = save_pretrained(tmp_path / 'mae.pth')
    runner, losses = one_step(cfg)
    assert 'val/accuracy/top1' in runner.message_hub.log_scalars
    distilled = {'loss_label', 'loss_teacher'}
    assert losses == (distilled if name.endswith('_distilled') else set())
    # It began as the pre-trained network.
    for key, param in runner.model.backbone.named_parameters():
        if not key.startswith('ln'):
            torch.testing.assert_close(
                param, pretrained.state_dict()[key], atol=1e-3, rtol=0, msg=key
            )
    rates = {}
    for group in runner.optim_wrapper.optimizer.param_groups:
        rates[group['param_name']] = group['lr_scale']
        if re.search(r'norm|ln|bias|pos_embed|cls_token', group['param_name']):
            assert group['weight_decay'] == 0, group['param_name']
    decay = FINETUNING[name]['decay']
    assert rates['head.fc.weight'] == 1
    last = f'backbone.layers.{VIT_DEPTH - 1}.ffn.layers.1.weight'
    assert rates[last] == pytest.approx(decay)
    first = 'backbone.patch_embed.projection.weight'
    assert rates[first] == pytest.approx(decay ** (VIT_DEPTH + 1))


@pytest.mark.slow
def test_one_iteration_of_transfer(tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    made_up_transfer.stand_in(monkeypatch)
    made_up_transfer.cifar100(tmp_path / 'cifar100')
    save_pretrained(tmp_path / 'mae.pth')
    options = one_epoch(tmp_path / 'run', tmp_path)
    options['data_root'] = str(tmp_path / 'cifar100')
    options['model.backbone.arch'] = VIT
    options['model.head.in_channels'] = WIDTH
    options['model.backbone.init_cfg.checkpoint'] = str(tmp_path / 'mae.pth')
    cfg = load_config(config_of('finetune_mae_lite_tiny_cifar100'), options)
    runner, _ = one_step(cfg)
    assert 'val/accuracy/top1' in runner.message_hub.log_scalars
