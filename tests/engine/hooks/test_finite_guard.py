"""What is not finite reaches neither weights nor teacher nor centre nor a file."""

import pytest
import torch
from mmengine.hooks import Hook
from support.training import build_runner

from esvit_plugin.engine import FiniteGuardHook
from esvit_plugin.engine.checkpoints import check_finite_weights

ADAMW = dict(
    type='PerParamClipOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, fused=True),
    clip_grad=dict(max_norm=3.0),
)
PLAIN = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3))


class Spoil(Hook):
    """Puts a value that is not finite somewhere, in the third iteration."""

    priority = 'VERY_HIGH'

    def __init__(self, where):
        self.where = where
        self.states = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        state = runner.model.state_dict()
        self.states.append({k: v.clone() for k, v in state.items()})
        if runner.iter != 2:
            return
        if self.where == 'pixel':
            data_batch['inputs'][0][0, 0, 0, 0, 0] = torch.nan
        elif self.where == 'rate':
            for group in runner.optim_wrapper.optimizer.param_groups:
                group['lr'] = 3e38
        elif self.where == 'weight':
            with torch.no_grad():
                runner.model.neck.mlp[0].weight[0, 0] = torch.inf


def run(folder, where, **options):
    spoil = Spoil(where)
    guard = dict(type='FiniteGuardHook', at_once=options.pop('at_once', None))
    runner = build_runner(
        folder,
        custom_hooks=[dict(type='EMATeacherHook', momentum=0.5), spoil],
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', interval=1),
            finite_guard=guard,
        ),
        **options,
    )
    with pytest.raises(FloatingPointError) as error:
        runner.train()
    return runner, spoil, str(error.value)


@pytest.mark.parametrize('where', ['pixel', 'rate', 'weight'])
@pytest.mark.parametrize('wrapper', [ADAMW, PLAIN], ids=['fused', 'plain'])
def test_a_training_that_goes_wrong_is_stopped_at_once(tmp_path, where, wrapper):
    runner, spoil, message = run(tmp_path, where, optim_wrapper=wrapper)
    assert 'not finite in iteration 3 of 4' in message
    assert f'last good checkpoint is {tmp_path}/epoch_1.pth' in message
    assert 'learning rate' in message and message.count('\n') < 3
    assert len(spoil.states) == 3
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    check_finite_weights(torch.load(tmp_path / 'epoch_1.pth'), 'epoch_1.pth')
    teacher = runner.model.teacher.state_dict()
    for name, value in teacher.items():
        # The teacher of before the fault
        assert torch.equal(value, spoil.states[2][f'teacher.{name}']), name
    center = runner.model.head.center
    assert center.isfinite().all()


def test_on_a_device_the_step_is_skipped_and_asked_for_later(tmp_path):
    runner, spoil, message = run(
        tmp_path, 'pixel', at_once=False, optim_wrapper=ADAMW, train_cfg=LONG
    )
    assert 'a gradient is not finite in iteration 3 of 10' in message
    # Noticed at the end of the epoch, after one more step that changed nothing.
    last = runner.model.state_dict()
    assert len(spoil.states) == 4
    for name, value in spoil.states[2].items():
        assert torch.equal(spoil.states[3][name], value), name
        assert torch.equal(last[name], value) or name.endswith('head.center'), name


LONG = dict(by_epoch=True, max_epochs=5)


@pytest.mark.parametrize('where', ['pixel', 'rate'])
def test_without_a_fused_optimiser_weights_stay_finite_on_a_device(tmp_path, where):
    runner, _, message = run(tmp_path, where, at_once=False, optim_wrapper=PLAIN)
    assert 'in iteration 3 of 4' in message
    state = runner.model.teacher.state_dict()
    check_finite_weights(state, 'the teacher')
    check_finite_weights(dict(center=runner.model.head.center), 'the head')


def test_only_what_is_asked_for_makes_the_host_wait(tmp_path, monkeypatch):
    """On a device the guard reads nothing back between logged iterations."""
    reads = []
    read = torch.Tensor.__bool__
    monkeypatch.setattr(
        torch.Tensor, '__bool__', lambda t: reads.append(t.shape) or read(t)
    )
    guard = FiniteGuardHook(at_once=False)
    runner = build_runner(tmp_path)
    runner.register_hook(guard)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    guard.before_train(runner)
    optimizer = runner.optim_wrapper.optimizer
    for param in runner.model.backbone.parameters():
        param.grad = torch.full_like(param, torch.nan)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    reads.clear()
    guard._before_step(optimizer, (), {})
    guard._after_step(optimizer, (), {})
    assert not reads
    assert bool(guard.skips())
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, before[name])


class Scaler:
    def __init__(self, factor):
        self.factor = factor

    def is_enabled(self):
        return True

    def get_scale(self):
        return self.factor


def test_skipped_steps_of_a_scaler_are_a_fault_only_without_end(tmp_path):
    runner = build_runner(tmp_path)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    guard = FiniteGuardHook(at_once=True)
    guard.before_train(runner)
    optimizer = runner.optim_wrapper.optimizer
    for param in runner.model.backbone.parameters():
        param.grad = torch.full_like(param, torch.inf)
    # As a scaler announces a step that it skips to a fused optimiser
    optimizer.found_inf = torch.ones(())
    guard._before_step(optimizer, (), {})
    runner.optim_wrapper.loss_scaler = Scaler(2.0**-3)
    guard.ask(runner)
    runner.optim_wrapper.loss_scaler = Scaler(2.0**-20)
    with pytest.raises(FloatingPointError, match='all steps overflow in float16'):
        guard.ask(runner)


def test_the_centre_waits_for_a_finite_loss_and_mean():
    from esvit_plugin.models import DINOViewHead

    head = DINOViewHead(out_channels=8)
    rows, prototypes = torch.randn(4, 3), torch.randn(8, 3)
    head.update_center(rows, prototypes, torch.tensor(1.0))
    center = head.center.clone()
    assert center.abs().max() > 0
    head.update_center(rows, prototypes, torch.tensor(torch.nan))
    head.update_center(rows * torch.inf, prototypes, torch.tensor(1.0))
    assert torch.equal(head.center, center)
    head.update_center(rows, prototypes)
    assert not torch.equal(head.center, center)
