"""Schedules whose state is in the checkpoint, and must be read again."""

import uuid

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from support.training import Labelled

from esvit_plugin.engine import EsViTRunner
from esvit_plugin.engine.checkpoints import load_checkpoint_file


class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=self.weight.sum()) if mode == 'loss' else data_samples


class Worse(Hook):
    """Gives schedules the same metric after each epoch, and keeps the rates."""

    def __init__(self):
        self.rates = []

    def before_train_epoch(self, runner):
        self.rates.append(runner.optim_wrapper.optimizer.param_groups[0]['lr'])

    def after_train_epoch(self, runner):
        for scheduler in runner.param_schedulers:
            if hasattr(scheduler, 'need_val_args'):
                scheduler.step(dict(loss=torch.tensor(1.0).numpy()[()]))


def run(work_dir, schedules, epochs=6, resume=False, lr=1.0):
    worse = Worse()
    runner = EsViTRunner(
        model=Tiny(),
        work_dir=str(work_dir),
        experiment_name=f'test_{uuid.uuid4().hex[:9]}',
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=Labelled(),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
        param_scheduler=schedules,
        custom_hooks=[worse],
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1)),
        resume=resume,
        default_scope='mmpretrain',
        cfg={},
    )
    messages = []
    warn = runner.logger.warning
    runner.logger.warning = lambda text, *args: (messages.append(text), warn(text))
    runner.train()
    return worse.rates, messages


def plateau(**options):
    return [dict(type='ReduceOnPlateauLR', monitor='loss', patience=1, **options)]


def test_a_checkpoint_of_one_cycle_is_read_again(tmp_path):
    cycle = [dict(type='OneCycleLR', eta_max=1.0, total_steps=12, by_epoch=False)]
    whole, _ = run(tmp_path / 'whole', cycle)
    states = load_checkpoint_file(tmp_path / 'whole/epoch_1.pth')['param_schedulers']
    assert 'last_step' in states[0] and 'anneal_func' not in states[0]
    first, _ = run(tmp_path / 'parts', cycle, epochs=3)
    rest, _ = run(tmp_path / 'parts', cycle, resume=True)
    assert first + rest == whole


@pytest.mark.parametrize('stop', [2, 3, 4])
def test_a_reduced_rate_stays_reduced(tmp_path, stop):
    whole, _ = run(tmp_path / 'whole', plateau())
    assert len(set(whole)) > 2
    first, _ = run(tmp_path / 'parts', plateau(), epochs=stop)
    rest, messages = run(tmp_path / 'parts', plateau(), resume=True)
    assert first + rest == whole
    assert not any('begins anew' in text for text in messages)


def test_it_is_reduced_in_proportion_to_a_new_one(tmp_path):
    whole, _ = run(tmp_path / 'whole', plateau(), lr=0.5)
    run(tmp_path / 'parts', plateau(), epochs=4)
    rest, _ = run(tmp_path / 'parts', plateau(), resume=True, lr=0.5)
    assert rest == pytest.approx(whole[4:])


def test_one_without_a_state_says_so(tmp_path):
    run(tmp_path, [dict(type='ConstantLR', factor=1.0)], epochs=2)
    rates, messages = run(tmp_path, plateau(), resume=True)
    assert rates[0] == 1
    (text,) = [text for text in messages if 'begins anew' in text]
    assert text.startswith('ReduceOnPlateauLR(lr): the checkpoint has no state')
