import json
import math
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest

from esvit_plugin.evaluation.embedding import embed_in_plane
from esvit_plugin.evaluation.feature_file import read_features
from esvit_plugin.visualization import (
    draw_curves,
    draw_embedding,
    draw_runs,
    read_run,
    read_scalars,
    run_names,
)
from esvit_plugin.visualization.curves import UNIFORM, default_keys, plain_name


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


@pytest.fixture
def warned(monkeypatch):
    said = []
    monkeypatch.setattr('esvit_plugin.visualization.logs._warn', said.append)
    return said


CUT = {
    'begun': b'{"loss": 0.',
    'joined': b'{"loss": 0.{"loss": 1, "iter": 3, "step": 3}',
    'zeros': bytes(50),
    'no text': b'{"\xff\xfe": 1, "step": 3}',
    'nested': b'[' * 100000,
}


@pytest.mark.parametrize('kind', CUT)
def test_lines_that_were_cut_are_left_out(tmp_path, warned, kind):
    path = write_log(tmp_path, (10, 20), 0)
    whole = path.read_bytes()
    expected = read_scalars(str(path))
    # At its end every program that is stopped may leave one.
    path.write_bytes(whole + CUT[kind])
    assert read_scalars(str(path)) == expected and not warned
    path.write_bytes(b'\n' + CUT[kind] + b'\n' + whole)
    assert read_scalars(str(path)) == expected
    assert warned == [f'{path}: left out as cut or damaged: line 2.']
    # All that one part has, but not all that there is.
    path.write_bytes(whole)
    other = write_log(tmp_path, (), 0, '20260102_000000')
    other.write_bytes(CUT[kind])
    assert read_scalars(str(tmp_path)) == expected
    assert warned[1:] == [f'{other}: left out as cut or damaged: line 1.']
    with pytest.raises(ValueError, match=r'Line 1 of .*scalars.json is no record'):
        read_scalars(str(other))


@pytest.mark.parametrize('encoding', ['utf-16', 'latin-1', None])
def test_files_that_are_no_text_are_named(tmp_path, encoding):
    path = tmp_path / 'log.json'
    text = '{"größe": 1, "step": 3}\n' * 3
    path.write_bytes(text.encode(encoding) if encoding else bytes(range(256)) * 9)
    with pytest.raises(ValueError, match=r'Line 1 of .*log.json is no record'):
        read_scalars(str(path))


NO_NUMBERS = ('"12"', 'null', '[1]', 'NaN', '-Infinity', '9' * 400)


@pytest.mark.parametrize('name', ['step', 'epoch', 'iter'])
@pytest.mark.parametrize('value', NO_NUMBERS, ids=range(6))
def test_steps_are_numbers(tmp_path, name, value):
    path = write_log(tmp_path, (10, 20, 30), 0)
    first, second, third = path.read_text().splitlines()
    record = {**json.loads(second), name: '?'}
    second = json.dumps(record).replace('"?"', value)
    path.write_text(f'{first}\n\n{second}\n{third}\n')
    with pytest.raises(ValueError, match=rf'Line 3 of .*json has {name} .* no number'):
        read_run(str(tmp_path))


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
    # Nothing is drawn of what has no curve.
    assert [axis.get_title() for axis in figure.axes] == ['a', 'b']
    colours = [
        {line.get_label(): line.get_color() for line in axis.lines}
        for axis in figure.axes
    ]
    assert colours[0]['y'] == colours[1]['y'] != colours[0]['x']
    figure.savefig(tmp_path / 'curves.png')
    assert matplotlib.image.imread(tmp_path / 'curves.png').std() > 0.05


def write_run(folder, region_weight=0.5, epochs=2, steps=(4, 8, 10), extra=()):
    """A run of 10 iterations per epoch, with its config."""
    records = []
    for epoch in range(1, epochs + 1):
        for step in steps:
            step += 10 * (epoch - 1)
            values = dict(loss_view=2.0, teacher_entropy=4.0, teacher_momentum=0.99)
            records.append(dict(**values, epoch=epoch, iter=step, step=step))
        records.append({'knn/top1_k20': 60.0, 'step': 10 * epoch})
        records.append({'accuracy/top1': 50.0, 'step': epoch})
    vis_data = folder / '20260101_000000' / 'vis_data'
    vis_data.mkdir(parents=True)
    lines = map(json.dumps, [*extra, *records])
    (vis_data / 'scalars.json').write_text('\n'.join(lines))
    region_neck = dict(out_channels=16) if region_weight else None
    model = dict(type='EsViT', neck=dict(out_channels=256), region_neck=region_neck)
    model.update(region_weight=region_weight or 0.5)
    (vis_data / 'config.py').write_text(f'model = {model}')
    return read_run(str(folder))


def test_a_run_is_counted_in_epochs(tmp_path):
    run = write_run(tmp_path / 'a', steps=(4, 8))
    # The accuracies tell where an epoch ends, although no loss was logged there.
    assert run.epochs['loss_view'] == [(x, 2.0) for x in (0.4, 0.8, 1.4, 1.8)]
    assert run.epochs['knn/top1_k20'] == [(1, 60.0), (2, 60.0)]
    assert run.epochs['accuracy/top1'] == [(1, 50.0), (2, 50.0)]
    assert run.steps['knn/top1_k20'] == [(10, 60.0), (20, 60.0)]
    # Within the first epoch nothing tells its length.
    log = write_log(tmp_path / 'b', (4, 8), 0)
    assert read_run(str(log)).epochs is None
    figure = draw_runs({'b': read_run(str(log))})
    assert figure.axes[0].get_xlabel() == 'iteration'
    # Nor does a log that contradicts itself, e.g. after another batch size.
    records = [dict(loss=1.0, epoch=e, iter=i, step=i) for e, i in ((1, 9), (2, 4))]
    log.write_text('\n'.join(map(json.dumps, records)))
    assert read_run(str(log)).epochs is None


def test_learning_curves_have_plain_names_and_what_to_compare_with(tmp_path):
    baselines = [{'baseline/raw pixels': 40.5, 'step': 0}]
    run = write_run(tmp_path / 'a', extra=baselines)
    figure = draw_runs({'a': run}, baselines={'random weights': 30.0})
    titles = [axis.get_title() for axis in figure.axes]
    entropy = "entropy of the teacher's output [nats]"
    assert titles == ['view loss × 0.5 [nats]', '20-NN accuracy [%]', entropy]
    lines = [
        {line.get_label(): line.get_ydata()[0] for line in axis.lines[1:]}
        for axis in figure.axes
    ]
    assert lines == [
        {UNIFORM: pytest.approx(0.5 * math.log(256))},
        {'raw pixels': 40.5, 'random weights': 30.0},
        {UNIFORM: pytest.approx(math.log(256))},
    ]
    # One run needs no name; lines have different styles.
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [UNIFORM, 'raw pixels', 'random weights']
    assert len({line.get_linestyle() for line in legend.get_lines()}) == 3
    figure.canvas.draw()
    top = legend.get_window_extent().y1
    for axis in figure.axes:
        assert axis.get_xlabel() == 'epoch' and axis.get_legend() is None
        assert axis.get_tightbbox().y0 >= top
        assert axis.get_xlim()[0] == 0 == axis.get_ylim()[0]
        assert axis.get_ylim()[1] > max(line.get_ydata()[0] for line in axis.lines)


def test_runs_that_differ_have_lines_of_their_own(tmp_path):
    runs = {
        'both': write_run(tmp_path / 'a', extra=[{'baseline/raw': 40.5, 'step': 0}]),
        'view': write_run(tmp_path / 'b', 0, extra=[{'baseline/raw': 41.5, 'step': 0}]),
    }
    figure = draw_runs(runs, ['loss_view', 'knn/top1_k20', 'teacher_momentum'])
    assert [axis.get_title() for axis in figure.axes] == [
        'view loss × 0.5 [nats]',
        '20-NN accuracy [%]',
        'teacher momentum',
    ]
    names = [line.get_label() for axis in figure.axes for line in axis.lines]
    assert names == [
        *('both', 'view', f'{UNIFORM}, both', f'{UNIFORM}, view'),
        *('both', 'view', 'raw, both', 'raw, view'),
        *('both', 'view'),
    ]
    # What lies between 0.9 and 1 would be a line at the top of an axis from 0.
    assert 0.9 < figure.axes[2].get_ylim()[0] < 0.99 < 1 < figure.axes[2].get_ylim()[1]
    assert runs['both'].uniform['loss'][1] == pytest.approx(
        0.5 * math.log(256) + 0.5 * math.log(16)
    )
    assert runs['view'].uniform['loss'][1] == pytest.approx(math.log(256))


@pytest.mark.parametrize(
    'content',
    [
        b"model = dict(type='EsViT', neck=dict(",
        bytes(99),
        b'\xff\xfe',
        b'',
        b"model = dict(type='EsViT')",
        b"model = dict(type='EsViT', neck=None)",
        b"model = dict(type='EsViT', neck=dict(out_channels=0))",
        b"model = dict(type='EsViT', neck=dict(out_channels='many'))",
        b"import os; os.mkdir('ran'); model = dict(type='EsViT', neck=dict())",
    ],
)
def test_a_config_that_cannot_be_read_costs_its_lines_alone(
    tmp_path, warned, monkeypatch, content
):
    monkeypatch.chdir(tmp_path)
    expected = write_run(tmp_path / 'a')
    (path,) = (tmp_path / 'a').glob('*/vis_data/config.py')
    path.write_bytes(content)
    assert read_run(str(tmp_path / 'a')) == expected._replace(uniform={})
    assert warned == [
        f'{path} cannot be read, so no line shows what a uniform output would have.'
    ]
    # It may be from elsewhere, and is not run.
    assert not (tmp_path / 'ran').exists()


def test_baselines_that_would_hide_each_other_are_one_line(tmp_path):
    run = write_run(tmp_path, extra=[{'baseline/raw pixels': 36.98, 'step': 0}])
    figure = draw_runs({'a': run}, ['knn/top1_k20'], {'random weights': 37.0})
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ['raw pixels and random weights']
    assert len(figure.axes[0].lines) == 2


def test_names_of_keys():
    assert plain_name('knn/top5_k10') == '10-NN top-5 accuracy [%]'
    assert plain_name('accuracy/top1') == 'top-1 accuracy [%]'
    assert plain_name('data_time') == 'waiting for data [s]'
    assert plain_name('own') == 'own'


@pytest.mark.parametrize('num_labels', [3, 25])
@pytest.mark.parametrize('shape', [(1, 1), (4, 1), (1, 4)])
def test_embeddings_show_their_labels(num_labels, shape):
    points = np.random.default_rng(0).normal(size=(50, 2)) * shape
    labels = [f'label{i % num_labels}' for i in range(50)]
    figure = draw_embedding(points, labels, 'title')
    (axis,) = figure.axes
    texts = axis.texts if num_labels > 20 else figure.legends[0].get_texts()
    assert {text.get_text() for text in texts} == set(labels)
    assert sum(len(dots.get_offsets()) for dots in axis.collections) == 50
    # The plane fills the picture, but for the legend, and keeps distances.
    figure.canvas.draw()
    box, (width, height) = axis.get_window_extent(), figure.canvas.get_width_height()
    assert box.height > 0.85 * height
    assert box.width > (0.9 if num_labels > 20 else 0.75) * width
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    assert box.width / (right - left) == pytest.approx(box.height / (top - bottom))


def test_classes_are_folders_of_one_level(tmp_path):
    paths = ['train/cats/big/1.jpg', 'train/dogs/2.jpg', 'val/cats/3.jpg', '4.jpg']
    file = tmp_path / 'features.npz'
    paths = [f'/data/{path}' for path in paths]
    np.savez(file, paths=np.array(paths), pooled=np.ones((4, 2)))
    for level, expected in {
        1: ['train', 'train', 'val', 'data'],
        2: ['cats', 'dogs', 'cats', 'data'],
        -1: ['big', 'dogs', 'cats', 'data'],
    }.items():
        assert read_features(str(file), level=level)[1] == expected
    with pytest.raises(ValueError, match='level must be 1 or more'):
        read_features(str(file), level=0)


def test_parts_of_a_data_set_are_no_classes(tmp_path):
    file = tmp_path / 'features.npz'
    paths = [f'/data/{name}' for name in ('train/cats/1.jpg', 'val/dogs/2.jpg')]
    np.savez(file, paths=np.array(paths), pooled=np.ones((2, 2)))
    assert read_features(str(file))[1] == ['cats', 'dogs']


def test_the_plane_lies_on_its_side(monkeypatch):
    rng = np.random.default_rng(0)
    tall = rng.normal(size=(30, 2)) * [1.0, 9.0]
    monkeypatch.setattr('sklearn.manifold.TSNE.fit_transform', lambda self, x: tall)
    points = embed_in_plane(rng.normal(size=(30, 8)))
    assert points[:, 0].std() > 5 * points[:, 1].std()
    # Turned alone: all distances are as they were.
    distances = [np.linalg.norm(p[:, None] - p, axis=-1) for p in (points, tall)]
    np.testing.assert_allclose(*distances, atol=1e-9)


@pytest.mark.parametrize('scale', [0, 1])
def test_equal_features_have_no_embedding(scale):
    row = np.random.default_rng(0).normal(size=8)
    features = scale * np.outer([1, 2, 3, 4, 5], row).astype(np.float32)
    with pytest.raises(ValueError, match='All 5 features point the same way'):
        embed_in_plane(features)


def test_a_probe_is_drawn_at_its_best_rate():
    steps = dict.fromkeys(['loss', 'accuracy/x0.3', 'accuracy/x1', 'accuracy/top1'])
    keys = default_keys([SimpleNamespace(steps=steps)])
    assert keys == ['loss', 'accuracy/top1']
    name = plain_name('accuracy/x0.3')
    assert name == 'top-1 accuracy at 0.3 × the learning rate [%]'
