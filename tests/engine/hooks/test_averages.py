"""Weights and their average of ``EMAHook``, which change places for a validation."""

import os
import signal
import uuid

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from support.training import Labelled

from esvit_plugin.engine import EsViTRunner
from esvit_plugin.engine.hooks.knn_monitor_hook import _tell


class Tiny(BaseModel):
    """One weight, which each step raises by 1."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=-self.weight.sum()) if mode == 'loss' else data_samples


class SignalIn(Hook):
    """Signals its own process in a validation, in the first or second pass over it."""

    def __init__(self, number):
        self.number = number

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.number -= batch_idx == 0
        if not self.number:
            os.kill(os.getpid(), signal.SIGTERM)


def build(work_dir, *hooks, **overrides):
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=Labelled(),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    cfg = dict(
        model=Tiny(),
        work_dir=str(work_dir),
        experiment_name=f'test_{uuid.uuid4().hex[:9]}',
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=[],
        custom_hooks=list(hooks),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', interval=-1),
            recovery=dict(type='RecoveryHook'),
        ),
        randomness=dict(seed=0),
        default_scope='mmpretrain',
    )
    cfg.update(overrides)
    return EsViTRunner(**cfg, cfg={})


@pytest.mark.parametrize(
    ('hook', 'number'),
    [
        (dict(type='mmengine.EMAHook'), 1),
        (dict(type='mmpretrain.EMAHook', evaluate_on_ema=False), 1),
        # It validates the average, then the model.
        (dict(type='mmpretrain.EMAHook', evaluate_on_origin=True), 1),
        (dict(type='mmpretrain.EMAHook', evaluate_on_origin=True), 2),
    ],
)
def test_a_validation_that_is_left_keeps_the_weights(tmp_path, hook, number):
    ema = dict(hook, momentum=0.25)
    with pytest.raises(SystemExit):
        build(tmp_path, ema, SignalIn(number)).train()
    saved = torch.load(tmp_path / 'recovery.pth')
    # The model's own weights are in the field of the average, for a resume.
    assert saved['ema_state_dict']['module.weight'].item() == 2
    assert 0 < saved['state_dict']['weight'].item() < 2
    runner = build(tmp_path, ema, resume=True)
    runner.train()
    assert runner.model.weight.item() == 4


def test_knn_accuracies_do_not_exchange_them(tmp_path):
    no_validation = dict.fromkeys(('val_dataloader', 'val_cfg', 'val_evaluator'))
    ema = dict(type='mmengine.EMAHook', momentum=0.25)

    class Tell(Hook):
        def after_train_epoch(self, runner):
            _tell(runner, {'knn/top1_k1': 1.0})

    runner = build(tmp_path, ema, Tell(), **no_validation)
    runner.train()
    assert runner.model.weight.item() == 4
