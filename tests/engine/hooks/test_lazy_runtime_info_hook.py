from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from support.training import RandomViews, build_runner
from torch.utils._python_dispatch import TorchDispatchMode

from esvit_plugin.engine import LazyRuntimeInfoHook

NUM_ITERS = 5  # of an epoch


class CountReads(TorchDispatchMode):
    """Counts how often the host reads a value, as ``item`` does."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Watch(Hook):
    """The number of reads and of logged losses after each iteration."""

    priority = 'LOWEST'

    def __init__(self, reads):
        self.reads, self.found = reads, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        losses = runner.message_hub.log_scalars.get('train/loss')
        number = 0 if losses is None else len(losses.data[0])
        self.found.append((self.reads.count, number))


def train(work_dir, kind):
    reads = CountReads()
    watch = Watch(reads)
    runner = build_runner(
        work_dir,
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=RandomViews(2 * NUM_ITERS),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(
            type='PerParamClipOptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-3, fused=True),
            clip_grad=dict(max_norm=3.0),
        ),
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='TrainingMonitorHook'),
            watch,
        ],
        default_hooks=dict(
            runtime_info=dict(type=kind),
            logger=dict(type='LoggerHook', interval=3),
            checkpoint=None,
        ),
    )
    with reads:
        runner.train()
    return runner.message_hub, watch.found


@pytest.mark.slow
def test_the_log_is_mmengines_without_reads_between(tmp_path):
    expected, theirs = train(tmp_path / 'mmengine', 'RuntimeInfoHook')
    assert theirs[0][0] < theirs[1][0]
    hub, found = train(tmp_path / 'lazy', 'LazyRuntimeInfoHook')
    for name in 'loss', 'loss_region', 'feature_spread', 'teacher_entropy':
        values, others = (
            h.get_scalar(f'train/{name}').data[0] for h in (hub, expected)
        )
        assert len(values) == 2 * NUM_ITERS
        assert values.tolist() == others.tolist()
    # Of mmengine's default hooks nobody logs this one.
    assert len(hub.get_scalar('train/grad_norm').data[0]) == 2 * NUM_ITERS
    # Fetched at every third iteration, overall and in an epoch, and at its end.
    assert [number for _, number in found] == [0, 0, 3, 3, 5, 6, 6, 8, 9, 10]
    reads = [count for count, _ in found]
    for first in (0, NUM_ITERS):  # epochs begin with reads of their own
        epoch = reads[first : first + NUM_ITERS]
        assert len(set(epoch)) == 1, epoch


def test_values_of_several_elements_are_refused():
    hook = LazyRuntimeInfoHook()
    hub = MessageHub('test_lazy')
    hook._waiting = [dict(loss=torch.ones(1), number=2), dict(loss=torch.tensor(3.0))]
    hook._fetch(SimpleNamespace(message_hub=hub))
    assert hub.get_scalar('train/loss').data[0].tolist() == [1, 3]
    assert hub.get_scalar('train/number').current() == 2
    hook._waiting = [dict(loss=torch.ones(2), other=torch.ones(1))]
    with pytest.raises(RuntimeError, match='invalid for input of size 2'):
        hook._fetch(SimpleNamespace(message_hub=hub))


def test_a_history_has_an_end():
    """Whatever the method: also of scalars that other hooks log."""
    hook = LazyRuntimeInfoHook(max_history=3)
    hub = MessageHub('test_history')
    for number in range(8):
        hub.update_scalar('train/time', number)
        hook._waiting = [dict(loss=torch.tensor(float(number)))]
        hook._fetch(SimpleNamespace(message_hub=hub))
    hub.update_scalar('train/loss', 8)
    assert hub.get_scalar('train/loss').data[0].tolist() == [6, 7, 8]
    assert hub.get_scalar('train/time').data[0].tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match='max_history must be >= 1, got 0'):
        LazyRuntimeInfoHook(max_history=0)
