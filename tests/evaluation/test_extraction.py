"""Progress of an extraction: a bar in a terminal, few lines in a log."""

import itertools
import sys
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample
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


class Labelled(list):
    """Images with these labels, and names of classes, if any."""

    metainfo: dict = {}


def samples(rows):
    labels = [DataSample(metainfo=dict(img_path=f'{i}.jpg')) for i, _ in rows]
    for sample, (_, label) in zip(labels, rows):
        sample.set_gt_label(label)
    return dict(inputs=torch.zeros(len(rows), 1), data_samples=labels)


@pytest.mark.parametrize('classes', [(), ('a', 'b')])
@pytest.mark.parametrize('label', [-1, -100, 2, 1 << 20])
def test_labels_that_are_no_class_are_refused(model, label, classes):
    data = Labelled(enumerate([0, 1, 0, label]))
    data.metainfo = dict(classes=classes)
    loader = DataLoader(data, 2, collate_fn=samples)
    if label == 2 and not classes:
        _, labels = extraction.extract_features(model, loader, lambda x: x)
        assert labels.tolist() == [0, 1, 0, 2]
        return
    with pytest.raises(ValueError, match=f'3.jpg has the label {label}, but classes'):
        extraction.extract_features(model, loader, lambda x: x)
