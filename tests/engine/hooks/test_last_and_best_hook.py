"""The end of a linear evaluation says its last and its best validation."""

import logging

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmpretrain.registry import DATASETS
from support.training import SMALL_SWIN, join_two, spawn_two

from esvit_plugin.engine import EsViTRunner, LastAndBestHook

WIDTH = 32 + 64 + 64 + 128


class FromTable:
    """Metrics by epoch instead of an evaluation."""

    def __init__(self, *values):
        self.values = values

    def run(self, hook, runner, epochs):
        for epoch in epochs:
            runner.epoch = epoch
            metrics = {'accuracy/top1': self.values[epoch - 1], 'accuracy/rate': 3.0}
            hook.after_val_epoch(runner, metrics)


class FakeRunner:
    """What the hook asks of a runner."""

    def __init__(self, info):
        self.message_hub = self
        self.runtime_info = info
        self.lines = []
        self.logger = self

    def update_info(self, key, value):
        self.runtime_info[key] = value

    def info(self, line):
        self.lines.append(line)


def test_last_and_best():
    hook, info = LastAndBestHook(['accuracy/top*']), {}
    table = FromTable(50.0, 52.5, 52.5, 51.0)
    runner = FakeRunner(info)
    table.run(hook, runner, (1, 2))
    # Resumed in between: the message hub is part of a checkpoint.
    runner = FakeRunner(dict(info))
    table.run(LastAndBestHook(['accuracy/top*']), runner, (3, 4))
    hook.after_train(runner)
    assert runner.lines == ['accuracy/top1: last 51.00 (epoch 4), best 52.50 (epoch 2)']


@DATASETS.register_module()
class ClassesOfNoise(BaseDataset):
    """Eight made-up images of two classes."""

    def load_data_list(self):
        generator = torch.Generator().manual_seed(0)
        return [
            dict(img=torch.rand(64, 64, 3, generator=generator).numpy(), gt_label=i % 2)
            for i in range(8)
        ]


class Seen(Hook):
    """Keeps what every validation found."""

    def __init__(self):
        self.values = []

    def after_val_epoch(self, runner, metrics=None):
        self.values.append(metrics['accuracy/top1'])


def run_probe(work_dir, caplog=None, checkpoint=(), val_interval=1, **options):
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ClassesOfNoise', pipeline=[dict(type='PackInputs')]),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    seen = Seen()
    cfg = dict(
        model=dict(
            type='LinearSweepClassifier',
            backbone=SMALL_SWIN,
            num_classes=2,
            in_channels=WIDTH,
            lr_factors=[1.0, 30.0],
        ),
        train_dataloader=loader,
        val_dataloader={
            **loader,
            'sampler': dict(type='DefaultSampler', shuffle=False),
        },
        val_evaluator=dict(type='LinearSweepAccuracy', topk=(1,)),
        train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=val_interval),
        val_cfg=dict(),
        optim_wrapper=dict(
            constructor='LinearSweepOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=0.1),
        ),
        default_hooks=dict(
            checkpoint=dict(
                type='AtomicCheckpointHook', interval=1, **dict(checkpoint)
            ),
            recovery=dict(type='RecoveryHook'),
        ),
        custom_hooks=[
            dict(type='RandomStateHook'),
            dict(type='BestRateHook'),
            dict(type='LastAndBestHook', keys=['accuracy/top1']),
            seen,
        ],
        work_dir=str(work_dir),
        experiment_name=work_dir.name,
        default_scope='mmpretrain',
        **options,
    )
    runner = EsViTRunner(**{'cfg': ConfigDict(), **cfg})
    lines = []
    runner.logger.addFilter(lambda record: lines.append(record.getMessage()) or True)
    runner.train()
    (line,) = [
        line for line in lines if 'best' in line and 'accuracy/top1: last' in line
    ]
    return seen.values, line


@pytest.mark.slow
def test_a_probe_ends_with_both(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    values, line = run_probe(tmp_path / 'whole', caplog)
    assert len(values) == 4  # every epoch
    whole = values
    best = max(values)
    wanted = (
        f'accuracy/top1: last {values[-1]:.2f} (epoch 4), best {best:.2f} '
        f'(epoch {values.index(best) + 1})'
    )
    assert line == wanted
    # Resumed from the second epoch: the first validation is remembered.
    values, line = run_probe(
        tmp_path / 'resumed',
        caplog,
        load_from=str(tmp_path / 'whole' / 'epoch_2.pth'),
        resume=True,
    )
    # That epoch's validation came after its checkpoint: it is made up for.
    assert values == whole[1:]
    assert line == wanted


@pytest.mark.slow
def test_a_validation_that_is_made_up_for_may_be_the_best(tmp_path, caplog):
    """What keeps the best checkpoint is ready then; the last epoch always has one."""
    caplog.set_level(logging.INFO)
    options = dict(
        checkpoint=dict(save_best='accuracy/top1', rule='greater'), val_interval=3
    )
    values, line = run_probe(tmp_path, caplog, **options)
    assert len(values) == 2 and 'epoch 4' in line
    (best,) = tmp_path.glob('best_*.pth')
    # It ended before the validation, as one that is killed in it.
    path = tmp_path / 'epoch_4.pth'
    checkpoint = torch.load(path)
    checkpoint['message_hub']['runtime_info'] = {}
    torch.save(checkpoint, path)
    best.unlink()
    again, line = run_probe(tmp_path, caplog, resume=True, **options)
    assert again == values[1:] and 'best' in line
    assert [best.name for best in tmp_path.glob('best_*.pth')] == [
        'best_accuracy_top1_epoch_4.pth'
    ]


def probe_on_two(rank, port, folder):
    cfg = join_two(rank, port)
    _, line = run_probe(folder, launcher=cfg.launcher, cfg=cfg)
    torch.save(line, folder / f'rank{rank}.pth')


@pytest.mark.slow
def test_two_processes_end_and_keep_the_best_rate(tmp_path):
    """The main one alone would wait for the others' random states."""
    lines = spawn_two(probe_on_two, tmp_path)
    assert 'best' in lines[0]
    last = torch.load(tmp_path / 'epoch_4.pth')
    assert len(last['random_states']) == 2
    found = last['message_hub']['log_scalars']['val/accuracy/best_lr_factor']
    chosen = last['state_dict']['best']
    assert chosen == [1.0, 30.0].index(found.current())
