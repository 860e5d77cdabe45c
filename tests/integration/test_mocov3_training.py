"""MoCo v3 through the Runner: resumed, in two processes, in mixed precision."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.structures import DataSample
from support.mocov3 import small_mocov3
from support.paths import CONFIGS
from support.training import build_runner, join_two, spawn_two
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from esvit_plugin.engine.configs import drop_late_schedules, load_config
from esvit_plugin.engine.launch import build_runner as launch_runner

LENGTH = 8
PREPROCESSOR = dict(
    type='ViewListDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0]
)


class TwoViews(Dataset):
    """Made-up views of 32 px, as MultiCrop gives them."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.views = torch.randn(LENGTH, 2, 3, 32, 32, generator=generator)

    def __len__(self):
        return LENGTH

    def __getitem__(self, index):
        return dict(inputs=[self.views[index]], data_samples=DataSample())


class Record(Hook):
    """Keeps losses and gradients; batch norms may stay in evaluation mode."""

    def __init__(self, frozen=False):
        self.frozen, self.losses, self.grads = frozen, [], {}

    def before_train(self, runner):
        def keep(*_):
            for name, param in model_of(runner).named_parameters():
                if param.grad is not None:
                    self.grads[name] = param.grad.clone()

        runner.optim_wrapper.optimizer.register_step_pre_hook(keep)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules() if self.frozen else ():
            if isinstance(module, _BatchNorm):
                module.eval()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].detach().clone())


class Stop(Hook):
    """Ends a run of two epochs after the first."""

    priority = 'LOWEST'

    def after_train_epoch(self, runner):
        runner.train_loop.stop_training = True


def model_of(runner):
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def loader(batch_size, shuffle):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        dataset=TwoViews(),
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        collate_fn=dict(type='default_collate'),
    )


def train(work_dir, batch_size=4, hooks=(), wrapper=None, shuffle=False, **overrides):
    runner = build_runner(
        work_dir,
        model=small_mocov3(data_preprocessor=PREPROCESSOR, base_momentum=0.5),
        train_dataloader=loader(batch_size, shuffle),
        optim_wrapper=wrapper
        or dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1)
        ),
        custom_hooks=[
            dict(type='RandomStateHook'),
            dict(type='GradientMonitorHook'),
            *hooks,
        ],
        **overrides,
    )
    runner.train()
    return runner


def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path):
    whole = train(tmp_path / 'whole', shuffle=True)
    train(tmp_path / 'part', shuffle=True, hooks=[Stop()])
    resumed = train(tmp_path / 'part', shuffle=True, resume=True)
    expected = whole.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert int(expected['momentum_encoder.steps']) == 4
    key = 'train/grad_norm_first'
    norms = [run.message_hub.get_scalar(key).data[0] for run in (whole, resumed)]
    assert norms[0].tolist() == norms[1].tolist()


def test_a_step_in_mixed_precision(tmp_path):
    wrapper = dict(
        type='AmpOptimWrapper',
        dtype='bfloat16',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1),
    )
    half, plain = Record(), Record()
    train(tmp_path / 'half', hooks=[half], wrapper=wrapper)
    train(tmp_path / 'plain', hooks=[plain])
    assert half.losses[0].item() == pytest.approx(plain.losses[0].item(), rel=0.05)
    assert half.losses[0] != plain.losses[0]
    assert half.grads.keys() == plain.grads.keys()


def test_accumulated_gradients_move_the_momentum_encoder_each_iteration(tmp_path):
    wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-3),
        accumulative_counts=2,
    )
    runner = train(tmp_path, wrapper=wrapper)
    assert int(runner.model.momentum_encoder.steps) == 4
    norms = runner.message_hub.get_scalar('train/grad_norm_first').data[0]
    assert len(norms) == 2


def knn(interval=1):
    data = dict(type='BundledPhotos', num_train=2, num_test=2)
    steps = [dict(type='PackInputs')]
    train_cfg, val_cfg = (
        dict(
            batch_size=16,
            num_workers=0,
            dataset=dict(split=split, pipeline=steps, **data),
        )
        for split in ('train', 'test')
    )
    return dict(
        type='KNNMonitorHook',
        train_dataloader=train_cfg,
        val_dataloader=val_cfg,
        interval=interval,
        ks=(1,),
    )


@pytest.mark.slow
def test_k_nn_watches_the_backbone_and_changes_nothing(tmp_path):
    watched = train(tmp_path / 'watched', hooks=[knn()])
    plain = train(tmp_path / 'plain')
    log = next((tmp_path / 'watched').glob('*/*.log')).read_text()
    assert 'k-NN of the backbone' in log and 'k-NN, k=1: top-1' in log
    assert watched.model.backbone.training
    expected = plain.model.state_dict()
    for name, value in watched.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


SGD = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))


def two_processes(work_dir, batch_size, **overrides):
    record = Record(frozen=True)
    runner = train(work_dir, batch_size, hooks=[record], wrapper=SGD, **overrides)
    return dict(
        losses=torch.stack(record.losses),
        grads=record.grads,
        state=model_of(runner).state_dict(),
        norms=runner.message_hub.get_scalar('train/grad_norm_first').data[0].tolist(),
        wrapped=is_model_wrapper(runner.model),
    )


def worker(rank, port, folder):
    cfg = join_two(rank, port)
    torch.manual_seed(0)
    result = two_processes(f'{folder}/two', 2, **cfg)
    torch.save(result, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    """Batch norms in evaluation mode, as they are per process on CPUs."""
    first, second = spawn_two(worker, tmp_path)
    torch.manual_seed(0)
    whole = two_processes(tmp_path / 'one', 4)
    assert first['wrapped'] and not whole['wrapped']
    losses = (first['losses'] + second['losses']) / 2
    torch.testing.assert_close(losses, whole['losses'])
    # Keys of the other process count: without them a loss would be lower.
    for name, grad in whole['grads'].items():
        torch.testing.assert_close(first['grads'][name], grad, rtol=1e-4, atol=1e-6)
        assert torch.equal(first['grads'][name], second['grads'][name])
    for name, value in whole['state'].items():
        torch.testing.assert_close(first['state'][name], value, rtol=1e-4, atol=1e-6)
    assert first['norms'] == second['norms']
    assert first['norms'] == pytest.approx(whole['norms'], rel=1e-4)


def test_the_demo_trains(tmp_path):
    options = {
        'work_dir': str(tmp_path),
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 8,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.dataset.num_train': 1,
        'custom_hooks.1.train_dataloader.dataset.num_train': 2,
        'custom_hooks.1.val_dataloader.dataset.num_test': 2,
        'default_hooks.logger.interval': 1,
        'visualizer.vis_backends': [],
    }
    cfg = load_config(str(CONFIGS / 'demo' / 'mocov3_photos.py'), options)
    drop_late_schedules(cfg)
    runner = launch_runner(cfg)
    projection = runner.model.backbone.patch_embed.projection
    runner.train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'k-NN, k=20: top-1' in log and 'grad_norm_first: ' in log
    assert not projection.weight.requires_grad
    # It has begun with the weights of the program, and stays there.
    bound = (6 / (3 * 8**2 + 192)) ** 0.5
    assert 0.98 * bound < projection.weight.abs().max() <= bound
