"""Every linear evaluation trains and tests through the Runner, by options only."""

import pytest
import torch
from mmpretrain.registry import MODELS
from support import made_up_data
from support.paths import CONFIGS
from support.small_configs import LAST_BLOCKS, WIDTH, small_backbone
from support.training import one_epoch

from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.launch import build_runner

FOLDER = CONFIGS / 'linear'
# Those of view-only runs are the same but for the checkpoint.
NAMES = [p.stem for p in sorted(FOLDER.glob('*.py')) if '_view' not in p.stem]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """ImageNet-1K of two images in each split."""
    return made_up_data.imagenet(tmp_path_factory.mktemp('data') / 'imagenet')


def width_of(model):
    """Width of the features of a small network; test_configs.py looks at the whole."""
    kind = model.backbone.type
    if kind == 'VisionTransformer':
        return WIDTH * (model.get('num_blocks', 4) + bool(model.get('patch_mean')))
    return WIDTH if kind == 'ResNet' else LAST_BLOCKS


@pytest.mark.parametrize('name', NAMES)
def test_one_epoch_of_two_images(name, data, tmp_path):
    path = str(FOLDER / f'{name}.py')
    # The paper's: 100 epochs, batch 1024, 0.001 x batch / 256, no decay.
    paper = load_config(path)
    assert paper.train_cfg.max_epochs == 100
    assert paper.train_dataloader.batch_size * 8 == 1024
    assert paper.auto_scale_lr.base_batch_size == 1024
    optimizer = paper.optim_wrapper.optimizer
    assert optimizer == dict(type='SGD', lr=0.004, momentum=0.9, weight_decay=0.0)
    assert {1.0, 3.0, 10.0} <= set(paper.model.lr_factors)
    options = one_epoch(tmp_path, data) | small_backbone(paper.model.backbone)
    options['model.in_channels'] = width_of(paper.model)
    options['model.backbone.init_cfg.checkpoint'] = str(tmp_path / 'teacher.pth')
    cfg = load_config(path, options)
    teacher = MODELS.build(dict(cfg.model.backbone, init_cfg=None))
    weights = {f'teacher.backbone.{k}': v for k, v in teacher.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'teacher.pth')
    runner = build_runner(cfg)
    before = {k: v.clone() for k, v in runner.model.heads.state_dict().items()}
    runner.train()
    for key, value in runner.model.backbone.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[key]), key
    assert all(
        not torch.equal(value, before[key])
        for key, value in runner.model.heads.state_dict().items()
    )
    metrics = runner.message_hub.log_scalars
    best = metrics['val/accuracy/top1'].current()
    assert best == max(
        history.current()
        for key, history in metrics.items()
        if key.startswith('val/accuracy/x')
    )
