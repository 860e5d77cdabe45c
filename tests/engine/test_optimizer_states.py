"""States of optimisers that do not fit those of a resumed run."""

from copy import deepcopy

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from support.training import build_runner
from timm.optim import Adan, Lamb

from esvit_plugin.engine.resume import refuse_other_optimizers, resume_optimizers


def one():
    parameter = torch.nn.Parameter(torch.zeros(1))
    return OptimWrapper(torch.optim.SGD([parameter], lr=0.5, momentum=0.9))


def several(*names):
    return OptimWrapperDict(**{name: one() for name in names})


@pytest.mark.parametrize(
    ('saved', 'mine', 'message'),
    [
        (one(), several('a', 'b'), 'state of one optimiser, .* the optimisers a, b'),
        (
            several('a', 'b'),
            one(),
            'of the optimisers a, b, this run has one optimiser',
        ),
        (
            several('a', 'b'),
            several('a', 'c'),
            'optimisers a, b, this run has the optimisers a, c',
        ),
        (
            several('a', 'b'),
            several('a'),
            'optimisers a, b, this run has the optimisers a',
        ),
    ],
)
def test_other_optimisers_are_refused(saved, mine, message):
    with pytest.raises(
        ValueError, match=f'{message}: use the optim_wrapper.*load_from'
    ):
        resume_optimizers(mine, saved.state_dict())


@pytest.mark.parametrize('make', [one, lambda: several('a', 'b')])
def test_the_same_ones_go_on(make):
    resume_optimizers(make(), make().state_dict())


@pytest.mark.parametrize('kind', [Lamb, Adan])
def test_a_state_in_the_group_goes_on(kind):
    """Of these the number of steps is in the group, not beside the parameter."""

    def build():
        parameter = torch.nn.Parameter(torch.ones(3))
        return parameter, OptimWrapper(kind([parameter], lr=0.1))

    def step(parameter, wrapper, number):
        parameter.grad = torch.tensor([1.0, -2.0, 0.5]) * number
        wrapper.step()

    weight, wrapper = build()
    for number in range(3):
        step(weight, wrapper, number)
    other, resumed = build()
    other.data.copy_(weight.data)
    resume_optimizers(resumed, deepcopy(wrapper.state_dict()))
    step(weight, wrapper, 3), step(other, resumed, 3)
    assert torch.equal(weight, other)
    assert resumed.optimizer.param_groups[0]['step'] == 4


def test_a_schedule_that_is_gone_leaves_nothing():
    scheduled, plain = one(), one()
    scheduled.optimizer.param_groups[0]['initial_lr'] = 0.5
    resume_optimizers(plain, scheduled.state_dict())
    assert 'initial_lr' not in plain.optimizer.param_groups[0]


@pytest.mark.slow
def test_another_class_is_refused_before_training(tmp_path):
    build_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1)).train()
    sgd = dict(optimizer=dict(type='SGD', lr=1.0))
    runner = build_runner(tmp_path, resume=True, optim_wrapper=sgd, custom_hooks=[])
    with pytest.raises(ValueError, match=r'state of AdamW, .*type=SGD: .*load_from'):
        runner.train()


def test_several_are_compared_by_name():
    wrapper = several('a', 'b')
    refuse_other_optimizers(wrapper, {'a.optimizer': 'SGD'})
    with pytest.raises(ValueError, match=r'of AdamW, .*wrapper\.b\.optimizer.type=SGD'):
        refuse_other_optimizers(wrapper, {'a.optimizer': 'SGD', 'b.optimizer': 'AdamW'})


def test_a_checkpoint_is_read_to_the_cpu(tmp_path, monkeypatch):
    """Numbers of steps stay where they were loaded to."""
    build_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1)).train()
    # As if it was a GPU
    module = 'esvit_plugin.engine.runner'
    monkeypatch.setattr(f'{module}.get_device', lambda: 'meta', raising=False)
    runner = build_runner(tmp_path, resume=True)
    runner.train()
    states = runner.optim_wrapper.optimizer.state.values()
    assert {state['step'].device.type for state in states} == {'cpu'}
    assert {state['step'].item() for state in states} >= {4}
