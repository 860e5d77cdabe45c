"""Progress of an extraction: a bar in a terminal, few lines in a log."""

import itertools
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from esvit_plugin.evaluation import extraction


@pytest.fixture
def model():
    return SimpleNamespace(data_preprocessor=lambda batch, training: batch)


def run(model, count=10, batch_size=4):
    loader = DataLoader(
        list(torch.arange(count)),
        batch_size,
        collate_fn=lambda rows: dict(inputs=torch.stack(rows)),
    )
    found = extraction.run_batches(model, loader, lambda x: 2 * x, show_progress=True)
    return torch.cat([features for _, features in found])


def test_a_log_gets_a_line_now_and_then(model, capsys, monkeypatch):
    clock = itertools.count(0, 20)  # seconds of each batch
    monkeypatch.setattr(extraction.time, 'monotonic', lambda: next(clock))
    assert run(model).tolist() == list(range(0, 20, 2))
    assert capsys.readouterr().out == '  8 of 10 images, 0.2 images/s\n'


def test_quick_work_leaves_no_trace_in_a_log(model, capsys):
    run(model)
    assert capsys.readouterr().out == ''


def test_a_terminal_gets_a_bar_that_ends_its_line(model, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    run(model)
    output = capsys.readouterr().out
    assert '10/10' in output and output.endswith('\n')
