"""More loader workers than cores are said once, in a line."""

import os

import pytest
import torch
from torch.utils.data import TensorDataset

from esvit_plugin.datasets import loaders


@pytest.mark.filterwarnings('error::UserWarning')
def test_it_is_said_once(monkeypatch):
    said = []
    monkeypatch.setattr(loaders, 'print_log', lambda text, **_: said.append(text))
    monkeypatch.setattr(loaders, '_HAS_WARNED', False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1}, raising=False)

    def build(number):
        return loaders.build_loader(
            dict(
                batch_size=1,
                num_workers=number,
                dataset=TensorDataset(torch.ones(3)),
                sampler=dict(type='DefaultSampler', shuffle=False),
            )
        )

    build(2)
    assert not said
    for _ in range(2):
        build(3)
    assert said == ['num_workers=3 of a loader on 2 CPU cores: 2 are enough.']
