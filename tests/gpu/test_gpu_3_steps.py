"""Training steps: nothing is waited for, and what overflows is skipped."""

import pytest
import torch
from mmengine.hooks import Hook
from support.training import RandomViews, build_runner


def train(folder, dtype, hook, log_interval, length=80):
    kind, amp = 'PerParamClipOptimWrapper', {}
    if dtype != torch.float32:
        kind, amp = 'PerParamClipAmpOptimWrapper', dict(dtype=str(dtype)[6:])
    runner = build_runner(
        folder,
        optim_wrapper=dict(
            type=kind,
            constructor='MatrixDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04, fused=True),
            clip_grad=dict(max_norm=3.0),
            **amp,
        ),
        train_dataloader=dict(
            batch_size=4,
            num_workers=1,
            pin_memory=torch.cuda.is_available(),
            dataset=RandomViews(length),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        default_hooks=dict(
            runtime_info=dict(type='LazyRuntimeInfoHook'),
            logger=dict(type='LoggerHook', interval=log_interval),
            checkpoint=dict(type='AtomicCheckpointHook', interval=1),
            finite_guard=dict(type='FiniteGuardHook'),
            recovery=dict(type='RecoveryHook'),
        ),
    )
    runner.register_hook(hook)
    return runner


class NoWaits(Hook):
    """Has torch raise where the host waits, from the third iteration to the last."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx >= 2 and not self.is_last_train_iter(runner):
            torch.cuda.set_sync_debug_mode('error')
        else:
            torch.cuda.set_sync_debug_mode('default')


@pytest.mark.usefixtures('_gpu')
def test_a_step_does_not_wait(tmp_path, dtype):
    runner = train(tmp_path, dtype, NoWaits(), log_interval=100, length=40)
    try:
        runner.train()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert runner.iter == 10


class Overflow(Hook):
    """Makes the gradients of the tenth iteration infinite."""

    priority = 'VERY_HIGH'
    AT = 9

    def __init__(self, scaled):
        self.scaled = scaled
        self.before, self.after = {}, {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == self.AT + 1:
            self.after = copied(runner.model)
        if batch_idx == self.AT:
            self.before = copied(runner.model)
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if self.scaled and batch_idx == self.AT:
            scaler._scale.fill_(torch.finfo(torch.float32).max)
        elif self.scaled and batch_idx == self.AT + 1:
            self.factor = scaler.get_scale()
            scaler._scale.fill_(1024.0)
        elif batch_idx == self.AT:
            data_batch['inputs'][0][0, 0, 0, 0, 0] = torch.inf


def copied(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_an_overflow_is_skipped(tmp_path, device, dtype):
    scaled = dtype == torch.float16
    if scaled and device.type != 'cuda':
        pytest.skip('float16 is trained in on a GPU alone')
    hook = Overflow(scaled)
    runner = train(tmp_path, dtype, hook, log_interval=11)
    if scaled:
        runner.train()
        assert runner.iter == 20
        # The scaler halved its factor; weights and teacher stood still.
        assert hook.factor < torch.finfo(torch.float32).max
        stood = {k for k in hook.before if not k.endswith('center')}
    else:
        with pytest.raises(FloatingPointError, match='not finite in iteration 10 of'):
            runner.train()
        end = copied(runner.model)
        # A GPU is asked an iteration later, whose outputs move the centres alone.
        hook.after = hook.after or end
        stood = set(hook.before)
        for name in {name for name in stood if not name.endswith('center')}:
            assert torch.equal(end[name], hook.before[name]), name
    for name in stood:
        assert torch.equal(hook.after[name], hook.before[name]), name
    state = runner.model.state_dict()
    assert all(torch.isfinite(value).all() for value in state.values())
    assert state['head.center'].abs().max() > 0
    if scaled:
        moved = [k for k in state if k.startswith('teacher.') and k.endswith('weight')]
        assert any(not torch.equal(state[k], hook.after[k]) for k in moved)
