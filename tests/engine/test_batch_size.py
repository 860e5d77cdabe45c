"""The learning rate, and the batch that it is for."""

from argparse import Namespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from esvit_plugin.engine.batch_size import scale_lr


def wrapper(steps=1):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return OptimWrapper(optimizer, accumulative_counts=steps)


class Case:
    """What ``scale_lr`` does for 2 processes and batches of 4 images."""

    def __init__(self, optim_wrapper, loader=None, **settings):
        if loader is None:
            loader = DataLoader(range(8), batch_size=4)
        self.lines = []
        runner = Namespace(
            world_size=2,
            train_dataloader=loader,
            logger=Namespace(info=self.lines.append),
        )
        scale_lr(runner, optim_wrapper, settings or None)
        self.text = '\n'.join(self.lines)


@pytest.mark.parametrize(('steps', 'rate'), [(1, 0.25), (8, 2.0)])
def test_accumulated_gradients_are_of_one_batch(steps, rate):
    one = wrapper(steps)
    text = Case(one, base_batch_size=16, enable=True).text
    assert one.optimizer.param_groups[0]['lr'] == rate
    parts = '(2 x 4 images)' if steps == 1 else '(2 x 4 images x 8 accumulated)'
    assert f'current batch size is {8 * steps} {parts}. Scaling the original' in text
    assert text.endswith(f'LR by {rate / 0.5}.')


def test_each_of_several_optimisers_has_its_own():
    both = OptimWrapperDict(a=wrapper(), b=wrapper(2))
    case = Case(both, base_batch_size=16, enable=True)
    assert [part.optimizer.param_groups[0]['lr'] for part in both.values()] == [
        0.25,
        0.5,
    ]
    assert len(case.lines) == 2


@pytest.mark.parametrize('steps', [1, 4])
def test_another_batch_is_said_where_nothing_is_scaled(steps):
    one = wrapper(steps)
    (line,) = Case(one, base_batch_size=16).lines
    assert 'for batches of 16 images' in line and f'have {8 * steps} (2 x 4' in line
    assert '--auto-scale-lr (auto_scale_lr.enable=True) scales it' in line
    assert one.optimizer.param_groups[0]['lr'] == 0.5
    for settings in (dict(base_batch_size=8 * steps, enable=False), {}):
        assert not Case(one, **settings).lines


def test_batches_of_a_sampler():
    sampler = BatchSampler(SequentialSampler(range(8)), 2, False)
    loader = DataLoader(range(8), batch_sampler=sampler)
    assert 'have 4 (2 x 2 images)' in Case(wrapper(), loader, base_batch_size=16).text
    del sampler.batch_size
    assert not Case(wrapper(), loader, base_batch_size=16).lines
    with pytest.raises(ValueError, match='no train_dataloader.batch_size to scale'):
        Case(wrapper(), loader, base_batch_size=16, enable=True)
    with pytest.raises(ValueError, match='no base_batch_size to scale'):
        Case(wrapper(), enable=True)
