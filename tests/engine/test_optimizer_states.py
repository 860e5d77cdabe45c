"""States of optimisers that do not fit those of a resumed run."""

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from esvit_plugin.engine.resume import resume_optimizers


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
