import json

import matplotlib.image
import numpy as np
import pytest

from esvit_plugin.visualization import (
    draw_curves,
    draw_embedding,
    read_scalars,
    run_names,
)


def write_log(folder, steps, value, name='20260101_000000', extra=()):
    """A part of a run that logged ``loss`` at some iterations."""
    path = folder / name / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    records = [
        dict(loss=value + step / 100, epoch=1, iter=step, step=step) for step in steps
    ]
    path.write_text(''.join(json.dumps(r) + '\n' for r in [*records, *extra]))
    return path


def test_resumed_parts_are_joined(tmp_path):
    knn = {'knn/top1_k20': 50.0, 'step': 30}
    write_log(tmp_path, (10, 20, 30), 0, '20260101_000000', [knn])
    resumed = write_log(tmp_path, (30, 40), 7, '20260102_000000')
    found = read_scalars(str(tmp_path))
    assert found['loss'] == [(10, 0.1), (20, 0.2), (30, 7.3), (40, 7.4)]
    # The accuracy after iteration 30 was that of the part that is not continued.
    assert 'knn/top1_k20' not in found
    assert read_scalars(str(resumed))['loss'] == [(30, 7.3), (40, 7.4)]
    assert read_scalars(str(resumed.parents[1])) == read_scalars(str(resumed))


def test_a_run_started_anew_replaces_the_old_one(tmp_path):
    validation = [{'accuracy/top1': 60.0, 'step': 1}]
    write_log(tmp_path, (10, 20, 30), 0, '20260101_000000', validation)
    write_log(tmp_path, (10, 20), 7, '20260102_000000')
    assert read_scalars(str(tmp_path))['loss'] == [(10, 7.1), (20, 7.2)]
    assert 'accuracy/top1' not in read_scalars(str(tmp_path))


def test_validation_before_a_resumed_part_stays(tmp_path):
    validation = [{'accuracy/top1': 60.0, 'step': 1}]
    write_log(tmp_path, (10, 20), 0, '20260101_000000', validation)
    write_log(tmp_path, (30, 40), 0, '20260102_000000', [{'note': 'text', 'step': 2}])
    found = read_scalars(str(tmp_path))
    assert found['accuracy/top1'] == [(1, 60.0)]
    assert [step for step, _ in found['loss']] == [10, 20, 30, 40]
    assert 'note' not in found and 'step' not in found


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no log or work folder .*nowhere'):
        read_scalars(str(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match='scalars.json in .* no work folder'):
        read_scalars(str(tmp_path))
    path = write_log(tmp_path, (10, 20), 0)
    with path.open('a') as file:
        file.write('{"loss": 0.')  # stopped while it wrote
    assert len(read_scalars(str(path))['loss']) == 2
    path.write_text('[1, 2]\n{}\n')
    with pytest.raises(ValueError, match=r"Line 1 of .* no record .*'\[1, 2\]'"):
        read_scalars(str(path))


def test_names_tell_runs_apart(tmp_path):
    logs = [write_log(tmp_path / run, (1,), 0) for run in ('a/swin', 'b/swin', 'b/vil')]
    folders = [str(log.parents[2]) for log in logs]
    assert run_names(folders[1:]) == ['swin', 'vil']
    assert run_names(folders) == ['a/swin', 'b/swin', 'b/vil']
    assert run_names([folders[0]] * 2) == ['swin', 'swin']
    assert run_names([str(logs[0])]) == ['20260101_000000']
    other = tmp_path / 'log.json'
    other.touch()
    assert run_names([str(other)]) == ['log']


def test_curves_have_one_axis_per_panel_and_a_colour_per_name(tmp_path):
    curve = [(0, 1.0), (1, float('nan')), (2, 0.5)]
    figure = draw_curves({'a': {'x': curve, 'y': curve}, 'b': {'y': curve}, 'c': {}})
    assert [axis.get_title() for axis in figure.axes] == ['a', 'b', 'c']
    colours = [
        {line.get_label(): line.get_color() for line in axis.lines}
        for axis in figure.axes
    ]
    assert colours[0]['y'] == colours[1]['y'] != colours[0]['x']
    figure.savefig(tmp_path / 'curves.png')
    assert matplotlib.image.imread(tmp_path / 'curves.png').std() > 0.05


@pytest.mark.parametrize('num_labels', [3, 25])
def test_embeddings_show_their_labels(num_labels):
    points = np.random.default_rng(0).normal(size=(50, 2))
    labels = [f'label{i % num_labels}' for i in range(50)]
    figure = draw_embedding(points, labels, 'title')
    (axis,) = figure.axes
    texts = axis.texts if num_labels > 20 else figure.legends[0].get_texts()
    assert {text.get_text() for text in texts} == set(labels)
    assert sum(len(dots.get_offsets()) for dots in axis.collections) == 50
