"""k-NN, fine-tuning and few-label configs: published settings, and one iteration."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS, TRANSFORMS
from support import made_up_data
from support.paths import CONFIGS, ROOT
from support.small_configs import DEPTH, SMALL, VIT, VIT_DEPTH, WIDTH, small_backbone
from support.training import one_epoch

from esvit_plugin import get_model
from esvit_plugin.engine.configs import drop_late_schedules, load_config
from esvit_plugin.engine.launch import build_runner

# Those of view-only runs differ by checkpoint alone; see test_published_configs.py.
KNN = [
    path.stem
    for path in sorted((CONFIGS / 'knn').glob('*.py'))
    if '_view' not in path.stem
]


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """ImageNet-1K of two images in each split, and lists of a part of them."""
    root = made_up_data.imagenet(tmp_path_factory.mktemp('data') / 'imagenet')
    for share in (1, 10):
        lines = (root / 'meta' / 'train.txt').read_text()
        (root / 'meta' / f'train_{share}percent.txt').write_text(lines)
    return root


def run_knn(monkeypatch, *args):
    """Call tools/knn.py in this process."""
    monkeypatch.setattr(sys, 'argv', ['knn.py', *map(str, args)])
    runpy.run_path(str(ROOT / 'tools' / 'knn.py'), run_name='__main__')


@pytest.mark.parametrize('name', KNN)
def test_knn_reads_the_checkpoint_of_its_config(
    name, imagenet, tmp_path, monkeypatch, capsys
):
    path = CONFIGS / 'knn' / f'{name}.py'
    cfg = load_config(str(path))
    neck = dict(in_channels=WIDTH, out_channels=16, hidden_channels=32)
    head = dict(out_channels=16)
    model = dict(backbone=SMALL[cfg.model.backbone.type], neck=neck, head=head)
    if cfg.model.region_neck:
        model.update(region_neck=neck, region_head=head)
    (tmp_path / 'small.py').write_text(f'_base_ = {str(path)!r}\nmodel = {model}\n')
    hooks = [hook.type for hook in cfg.custom_hooks]
    loaders = f'custom_hooks.{hooks.index("KNNMonitorHook")}'
    options = [
        f'data_root={imagenet}/',
        *(f'{loaders}.{part}_dataloader.num_workers=0' for part in ('train', 'val')),
    ]
    source = get_model(tmp_path / 'small.py')
    monkeypatch.chdir(tmp_path)
    Path(cfg.load_from).parent.mkdir(parents=True)
    torch.save(dict(state_dict=source.state_dict()), cfg.load_from)
    run_knn(monkeypatch, 'small.py', '--cfg-options', *options)
    rows = [line for line in capsys.readouterr().out.splitlines() if line[:2] == 'k=']
    assert [row.split()[0] for row in rows] == ['k=10', 'k=20', 'k=100', 'k=200']


def test_knn_of_a_baseline(imagenet, tmp_path, monkeypatch, capsys):
    arch = dict(VIT, embed_dims=384)
    path = tmp_path / 'small.py'
    path.write_text(
        f"_base_ = '{CONFIGS}/mocov3/mocov3_vit_s.py'\n"
        f'model = dict(backbone=dict(arch={arch}), neck=dict(hid_channels=16))\n'
    )
    checkpoint = tmp_path / 'checkpoint.pth'
    torch.save(dict(state_dict=get_model(path).state_dict()), checkpoint)
    workers = ('knn_dataloader.num_workers=0', 'knn_val_dataloader.num_workers=0')
    options = ('--cfg-options', f'data_root={imagenet}/', *workers)
    run_knn(monkeypatch, path, checkpoint, '--k', 1, *options)
    output = capsys.readouterr().out
    assert 'features of the backbone' in output
    assert re.search(r'^k=1 +top-1 ', output, re.M)


# mmpretrain's for self-supervised models: Swin (configs/simmim/benchmarks) and, for
# DeiT-S, ViT-B (configs/mae/benchmarks), the rates for 512 images.
SWIN = dict(rate=1.25e-3, decay=0.9, warmup=20, start=2e-4, end=5e-7, clip=5.0)
FINETUNE = {
    'finetune_swin_t': SWIN,
    'finetune_swin_s': dict(SWIN, arch='small'),
    'finetune_swin_b': dict(SWIN, arch='base', width=1024),
    'finetune_deit_s': dict(
        arch='deit-small',
        width=384,
        rate=1e-3,
        decay=0.65,
        warmup=5,
        start=1e-4,
        end=1e-6,
        clip=None,
    ),
}
SEMI = {
    'semi_swin_t_1percent': dict(SWIN, epochs=300, batch=256, labels=1),
    'semi_swin_t_10percent': dict(SWIN, epochs=100, batch=256, labels=10),
}
TABLE = {**FINETUNE, **SEMI}


def config_of(name):
    folder = 'finetune' if name in FINETUNE else 'semi_supervised'
    return str(CONFIGS / folder / f'{name}.py')


@pytest.mark.parametrize('name', TABLE)
def test_settings_are_the_published_ones(name):
    wanted = dict(dict(arch='tiny', width=768, epochs=100, batch=1024), **TABLE[name])
    cfg = load_config(config_of(name))
    assert cfg.model.backbone.arch == wanted['arch']
    assert cfg.model.backbone.init_cfg.prefix == 'teacher.backbone.'
    assert cfg.model.head.in_channels == wanted['width']
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer.lr == pytest.approx(wanted['rate'] * wanted['batch'] / 512)
    assert wrapper.optimizer.weight_decay == 0.05
    assert wrapper.optimizer.betas == (0.9, 0.999)
    assert wrapper.paramwise_cfg.layer_decay_rate == wanted['decay']
    assert (wrapper.clip_grad or {}).get('max_norm') == wanted['clip']
    assert cfg.train_dataloader.batch_size * 8 == wanted['batch']
    assert cfg.auto_scale_lr == dict(base_batch_size=wanted['batch'], enable=False)
    assert cfg.train_cfg.max_epochs == wanted['epochs']
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == wanted['warmup']
    assert (warmup.start_factor, cosine.eta_min) == (wanted['start'], wanted['end'])
    dataset = cfg.train_dataloader.dataset
    kinds = {transform.type for transform in dataset.pipeline}
    strong = {'RandAugment', 'RandomErasing'}
    if name in SEMI:
        assert dataset.ann_file == f'meta/train_{wanted["labels"]}percent.txt'
        assert not kinds & strong and cfg.model.train_cfg is None
    else:
        assert 'ann_file' not in dataset and strong < kinds
        augments = {item.type: item.alpha for item in cfg.model.train_cfg.augments}
        assert augments == dict(Mixup=0.8, CutMix=1.0)


def test_every_config_is_in_the_table():
    found = {
        path.stem
        for folder in ('finetune', 'semi_supervised')
        for path in (CONFIGS / folder).glob('*.py')
    }
    assert found == set(TABLE)


def test_strong_augmentation_runs_on_this_numpy():
    cfg = load_config(config_of('finetune_swin_t'))
    pipeline = [
        TRANSFORMS.build(transform)
        for transform in cfg.train_dataloader.dataset.pipeline
        if transform.type in ('RandAugment', 'RandomErasing')
    ]
    np.random.seed(0)
    image = np.random.randint(0, 256, (32, 32, 3), dtype=np.uint8)
    # Each of the 13 operations is left out with a chance of 1e-6.
    for _ in range(100):
        results = dict(img=image.copy())
        for transform in pipeline:
            results = transform(results)
        assert results['img'].shape == image.shape


@pytest.mark.parametrize('name', TABLE)
def test_one_iteration_from_the_teacher(name, imagenet, tmp_path, monkeypatch):
    # Formatting the config for the log takes longer than the step.
    monkeypatch.setattr(Config, 'pretty_text', '')
    path = config_of(name)
    options = one_epoch(tmp_path, imagenet)
    options |= small_backbone(load_config(path).model.backbone)
    options['model.head.in_channels'] = WIDTH
    options['model.backbone.init_cfg.checkpoint'] = str(tmp_path / 'teacher.pth')
    cfg = load_config(path, options)
    drop_late_schedules(cfg)
    teacher = MODELS.build(dict(cfg.model.backbone, init_cfg=None)).state_dict()
    weights = {f'teacher.backbone.{key}': value for key, value in teacher.items()}
    torch.save(dict(state_dict=weights), tmp_path / 'teacher.pth')
    runner = build_runner(cfg)
    runner.train()
    # The whole network moved, and little: it began as the teacher.
    for key, param in runner.model.backbone.named_parameters():
        torch.testing.assert_close(param, teacher[key], atol=1e-3, rtol=0)
        if key.endswith('.weight') and param.dim() > 1:
            assert not torch.equal(param, teacher[key]), key
    assert 'val/accuracy/top1' in runner.message_hub.log_scalars
    rates = {}
    for group in runner.optim_wrapper.optimizer.param_groups:
        rates[group['param_name']] = group['lr_scale']
        if re.search(r'norm|ln|bias|pos_embed|cls_token', group['param_name']):
            assert group['weight_decay'] == 0, group['param_name']
    # Stem, blocks, head
    decay, depth = TABLE[name]['decay'], VIT_DEPTH if 'deit' in name else DEPTH
    assert rates['head.fc.weight'] == 1
    first = 'backbone.patch_embed.projection.weight'
    assert rates[first] == pytest.approx(decay ** (depth + 1))


@pytest.mark.parametrize('name', SEMI)
def test_the_command_of_the_docstring_makes_the_list(name, tmp_path):
    text = Path(config_of(name)).read_text()
    command = re.search(r'^ +(grep .*)$', text, re.M).group(1)
    meta = tmp_path / 'data' / 'imagenet' / 'meta'
    meta.mkdir(parents=True)
    # mmpretrain's form, and SimCLR's
    lines = [f'n01440764/n01440764_{i}.JPEG 0\n' for i in (1, 11, 21)]
    (meta / 'train.txt').write_text(''.join(lines))
    percent = f'{SEMI[name]["labels"]}percent.txt'
    (tmp_path / percent).write_text('n01440764_1.JPEG\nn01440764_21.JPEG\n')
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    wanted = ''.join([lines[0], lines[2]])
    assert (meta / f'train_{percent}').read_text() == wanted
    dataset = load_config(config_of(name)).train_dataloader.dataset
    assert f'{dataset.data_root}/{dataset.ann_file}' in command
