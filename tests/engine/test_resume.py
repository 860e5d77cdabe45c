"""A run that is stopped and resumed is the run that was not stopped."""

import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from support.training import PIPELINE, StopAfter, build_runner, small_model

from esvit_plugin.engine import KNNMonitorHook

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('photos_once')]


def loader(num_workers, **dataset):
    return dict(
        batch_size=8,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        dataset=dict(type='BundledPhotos', num_train=1, pipeline=PIPELINE, **dataset),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )


def knn_hook(num_workers):
    data = dict(type='BundledPhotos', num_train=2, num_test=2)
    cfgs = [
        dict(
            batch_size=16,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            dataset=dict(split=split, pipeline=[dict(type='PackInputs')], **data),
        )
        for split in ('train', 'test')
    ]
    return dict(
        type='KNNMonitorHook',
        train_dataloader=cfgs[0],
        val_dataloader=cfgs[1],
        interval=1,
        ks=(1,),
    )


class Schedules(Hook):
    """Records what depends on the position in training."""

    def __init__(self):
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        group = runner.optim_wrapper.optimizer.param_groups[0]
        hub = runner.message_hub
        self.values.append(
            (
                runner.iter,
                group['lr'],
                group['weight_decay'],
                hub.get_scalar('train/teacher_temp').current(),
            )
        )


def run(work_dir, num_workers=0, stop=None, resume=False):
    schedules = Schedules()
    hooks = [
        dict(type='EMATeacherHook'),
        dict(type='TeacherTempHook', warmup_epochs=3),
        dict(type='FreezeLastLayerHook'),
        dict(type='RandomStateHook'),
        dict(type='TrainingMonitorHook'),
        knn_hook(num_workers),
        schedules,
    ]
    if stop:
        hooks.append(StopAfter(stop))
    runner = build_runner(
        work_dir,
        model=small_model(drop_path_rate=0.3),
        train_dataloader=loader(num_workers),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                eta_min=1e-6,
                end=3,
                convert_to_iter_based=True,
            ),
            dict(
                type='CosineAnnealingParamScheduler',
                param_name='weight_decay',
                eta_min_ratio=10,
                end=3,
                convert_to_iter_based=True,
            ),
        ],
        custom_hooks=hooks,
        resume=resume,
    )
    runner.train()
    close_workers(runner)
    return runner, schedules.values


def close_workers(runner):
    """End the workers now; the garbage collector would wait 5 s for each."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, KNNMonitorHook)]
    for loader in (runner.train_dataloader, *hooks[0]._loaders):
        if loader._iterator is not None:
            loader._iterator._shutdown_workers()
            loader._iterator = None


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_resumed_run_ends_bit_for_bit_the_same(tmp_path, num_workers):
    whole, whole_schedules = run(tmp_path / 'whole', num_workers)
    _, first = run(tmp_path / 'parts', num_workers, stop=1)
    # Whatever happens in between must not matter.
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    resumed, second = run(tmp_path / 'parts', num_workers, resume=True)
    assert first + second == whole_schedules
    assert resumed.epoch == 3
    expected = whole.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    states = [r.optim_wrapper.optimizer.state_dict()['state'] for r in (resumed, whole)]
    for ours, theirs in zip(*(state.values() for state in states)):
        assert torch.equal(ours['exp_avg'], theirs['exp_avg'])


def test_the_number_of_workers_changes_nothing(tmp_path):
    one, _ = run(tmp_path / 'one', num_workers=0)
    two, _ = run(tmp_path / 'two', num_workers=2)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name]), name


def test_states_of_another_number_of_processes_are_left_alone(tmp_path, monkeypatch):
    runner, _ = run(tmp_path, stop=1)
    path = tmp_path / 'epoch_1.pth'
    checkpoint = torch.load(path)
    checkpoint['random_states'] *= 2
    torch.save(checkpoint, path)
    messages = []
    monkeypatch.setattr(
        'esvit_plugin.engine.hooks.random_state_hook.print_log',
        lambda message, **_: messages.append(message),
    )
    resumed, _ = run(tmp_path, resume=True)
    assert resumed.epoch == 3
    assert messages == [
        'The checkpoint holds the random states of 2 processes, this run has 1: '
        'training goes on from fresh random states.'
    ]
