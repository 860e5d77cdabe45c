"""Every pre-training config takes a step through the Runner, made small by options."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from support import made_up_data
from support.paths import CONFIGS
from support.small_configs import WIDTH, small_backbone

from esvit_plugin.engine.configs import drop_late_schedules, load_config
from esvit_plugin.engine.launch import build_runner

NAMES = [path.stem for path in sorted(CONFIGS.glob('esvit_*.py'))]


class Record(Hook):
    """Keeps what the one step gave."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            self.lr = runner.optim_wrapper.get_lr()['lr'][0]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = {k: v.item() for k, v in outputs.items()}
        self.sizes = [tuple(views.shape) for views in data_batch['inputs']]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The folder of each data set, with one or two images."""
    root = tmp_path_factory.mktemp('data')
    return dict(
        imagenet=made_up_data.imagenet(root / 'imagenet', 1),
        webvision=made_up_data.webvision(root / 'webvision'),
        openimages=made_up_data.openimages(root / 'openimages'),
        imagenet22k=made_up_data.folder(root / 'imagenet22k'),
    )


@pytest.mark.parametrize('name', NAMES)
def test_one_iteration(name, data, tmp_path):
    options = {
        'work_dir': str(tmp_path),
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 1,
        'train_dataloader.num_workers': 0,
        'train_dataloader.dataset.pipeline.1.views.2.num_views': 2,
        'train_dataloader.persistent_workers': False,
        # Whole models, and many of them
        'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.save_last': False,
        'visualizer.vis_backends': [],
    }
    cfg = load_config(str(CONFIGS / f'{name}.py'))
    folder = data[Path(cfg.data_root).name]
    options['data_root'] = f'{folder}/'
    options |= small_backbone(cfg.model.backbone)
    for task in ('', 'region_') if cfg.model.region_neck else ('',):
        options[f'model.{task}neck.in_channels'] = WIDTH
        options[f'model.{task}neck.out_channels'] = 16
        options[f'model.{task}neck.hidden_channels'] = 32
        options[f'model.{task}head.out_channels'] = 16
    cfg = load_config(str(CONFIGS / f'{name}.py'), options)
    drop_late_schedules(cfg)
    # What it does is tested by itself, and takes longer than the step.
    cfg.custom_hooks = [h for h in cfg.custom_hooks if h.type != 'KNNMonitorHook']
    record = Record()
    runner = build_runner(cfg)
    runner.register_hook(record, 'LOWEST')
    runner.train()
    assert record.sizes == [(1, 2, 3, 224, 224), (1, 2, 3, 96, 96)]
    wanted = {'loss_view'} | ({'loss_region'} if cfg.model.region_neck else set())
    assert wanted <= set(record.losses)
    assert all(torch.tensor(value).isfinite() for value in record.losses.values())
    # The warm-up begins at almost 0.
    assert 0 < record.lr < 1e-6 * cfg.optim_wrapper.optimizer.lr
