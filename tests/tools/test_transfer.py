"""The transfer evaluation, as a user calls it."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from support import made_up_transfer
from support.backbones import BACKBONES
from support.paths import ROOT
from support.tools import run
from support.training import small_model

from esvit_plugin import get_model
from esvit_plugin.engine.configs import load_config
from esvit_plugin.evaluation import logistic_probe
from esvit_plugin.evaluation.transfer import (
    NAMES,
    load_data_config,
    read_labels,
)
from esvit_plugin.evaluation.transfer_results import labels, read_columns, table
from esvit_plugin.models.last_blocks import pool_last_blocks

QUICK = ('--num-workers', 0, '--batch-size', 4)


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """A config, its checkpoint and a folder with four data sets."""
    made_up_transfer.stand_in(monkeypatch)
    cfg = small_model()
    cfg['backbone']['img_size'] = 224
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'checkpoint.pth'
    Config(dict(model=cfg)).dump(str(config))
    model = get_model(cfg)
    # Otherwise the untrained student and teacher are the same.
    torch.nn.init.normal_(model.backbone.norm3.weight)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    for name, folder in (
        ('fer2013', 'fer2013'),
        ('voc2007', 'VOC2007'),
        ('mnist', 'mnist'),
        ('hateful_memes', 'hateful_memes'),
    ):
        made_up_transfer.MAKERS[name](tmp_path / 'sets' / folder)
    return tmp_path, (config, checkpoint, '--data-root', tmp_path / 'sets', *QUICK)


@pytest.mark.slow
def test_two_sets_are_evaluated_once(setup):
    folder, args = setup
    out = folder / 'results.json'
    sets = ('--datasets', 'hateful_memes', 'fer2013')
    output = run('transfer.py', *args, *sets, '-o', out)
    assert 'FER2013, train: 4 images' in output
    content = json.loads(out.read_text())
    assert content['settings']['source'] == 'teacher'
    results = content['results']
    assert list(results) == ['fer2013', 'hateful_memes']
    assert results['hateful_memes']['metric'] == 'roc_auc'
    assert results['hateful_memes']['images'] == [6, 2, 4]
    values = [result['value'] for result in results.values()]
    assert f'FER2013: accuracy {values[0]:.2f} %, C = ' in output
    table = output.split('\n\n')[-1].splitlines()
    assert table == [
        '| data set | metric | % |',
        '|---|---|---|',
        f'| FER2013 | accuracy | {values[0]:.2f} |',
        f'| Hateful Memes | roc_auc | {values[1]:.2f} |',
        f'| mean of 2 of 18 | | {sum(values) / 2:.2f} |',
    ]

    # Again, with one more: the others are kept.
    output = run('transfer.py', *args, *sets, 'voc2007', '-o', out)
    assert 'FER2013, train' not in output
    assert 'VOC2007: map11' in output
    assert '| mean of 3 of 18 |' in output
    assert json.loads(out.read_text())['results']['fer2013'] == results['fer2013']
    assert 'FER2013, train' in run(
        'transfer.py', *args, '--datasets', 'fer2013', '--force', '-o', out
    )
    with pytest.raises(ValueError, match="results of .*'teacher'.* not of .*'student'"):
        run('transfer.py', *args, '--student', '-o', out)


@pytest.fixture
def rival(tmp_path):
    """A classifier to compare with: its config and checkpoint."""
    backbone, width = BACKBONES['ResNet']
    head = dict(type='LinearClsHead', num_classes=5, in_channels=width)
    cfg = dict(type='ImageClassifier', backbone=backbone, head=head)
    Config(dict(model=cfg)).dump(str(tmp_path / 'rival.py'))
    torch.save(get_model(cfg).state_dict(), tmp_path / 'rival.pth')
    return tmp_path / 'rival.py', tmp_path / 'rival.pth'


@pytest.mark.slow
def test_two_models_are_compared(setup, rival):
    folder, args = setup
    out = folder / 'results.json'
    run('transfer.py', *args, '--datasets', 'fer2013', '-o', out)
    alone = json.loads(out.read_text())
    assert 'against' not in alone
    sets = ('--datasets', 'fer2013', 'mnist')
    output = run('transfer.py', *args, *sets, '-o', out, '--against', *rival)
    content = json.loads(out.read_text())
    # What there was is kept, and only the other model runs on it.
    assert content['results']['fer2013'] == alone['results']['fer2013']
    assert output.count('FER2013, train') == 1 and output.count('MNIST, train') == 2
    assert content['against']['settings']['source'] == 'backbone'
    mine, other = content['results'], content['against']['results']
    assert set(mine) == set(other) == {'fer2013', 'mnist'}
    assert f'MNIST, rival: accuracy {other["mnist"]["value"]:.2f} %, C = ' in output
    pairs = [
        (mine[name]['value'], other[name]['value']) for name in ('mnist', 'fer2013')
    ]
    means = np.mean(pairs, axis=0)
    better, equal = sum(a > b for a, b in pairs), sum(a == b for a, b in pairs)
    verdict = f'config is better than rival on {better} of 2'
    assert output.rstrip().split('\n\n')[-2].splitlines() == [
        '| data set | metric | config, % | rival, % |',
        '|---|---|---|---|',
        f'| MNIST | accuracy | {pairs[0][0]:.2f} | {pairs[0][1]:.2f} |',
        f'| FER2013 | accuracy | {pairs[1][0]:.2f} | {pairs[1][1]:.2f} |',
        f'| mean of 2 of 18 | | {means[0]:.2f} | {means[1]:.2f} |',
    ]
    verdict += f', and equal on {equal}' if equal else ''
    assert output.rstrip().endswith(verdict)

    # Again, alone: the other's results stay in the file.
    assert 'rival' not in run('transfer.py', *args, *sets, '-o', out)
    assert json.loads(out.read_text()) == content
    with pytest.raises(ValueError, match="results of .*rival.*, not of .*'auto'"):
        run('transfer.py', *args, '-o', out, '--against', 'auto', rival[1])


def test_a_model_that_cannot_be_loaded_is_refused_before_anything_runs(setup, rival):
    folder, args = setup
    out = folder / 'results.json'
    wrong = folder / 'wrong.pth'
    torch.save(dict(state_dict={'backbone.a': torch.zeros(1)}), wrong)
    with pytest.raises(RuntimeError, match='missing, e.g. bn1.bias'):
        run(
            'transfer.py', *args, '--datasets', 'fer2013', '-o', out,
            '--against', rival[0], wrong,
        )  # fmt: skip
    assert not out.exists()
    with pytest.raises(ValueError, match='ImageClassifier, which has no student'):
        run('transfer.py', *rival, '--student', '-o', out)


def column(values, **settings):
    results = {
        name: dict(value=value, metric='accuracy') for name, value in values.items()
    }
    return dict(settings=settings, results=results)


def test_the_verdict_counts_the_sets_that_both_have():
    first = column(dict(dtd=70, mnist=90, stl10=80), config='a/esvit.py')
    second = column(dict(dtd=69, mnist=90.5, gtsrb=1, food101=2), config='swin.py')
    assert table([first, second]).splitlines()[2:] == [
        '| Food-101 | accuracy | | 2.00 |',
        '| DTD | accuracy | 70.00 | 69.00 |',
        '| MNIST | accuracy | 90.00 | 90.50 |',
        '| STL-10 | accuracy | 80.00 | |',
        '| GTSRB | accuracy | | 1.00 |',
        '| mean of 2 of 18 | | 80.00 | 79.75 |',
        '',
        'esvit is better than swin on 1 of 2',
    ]
    second['results']['mnist']['value'] = 90
    assert table([first, second]).endswith('on 1 of 2, and equal on 1')


def test_results_of_configs_that_are_gone_stay_in_the_table(tmp_path):
    gone, broken = str(tmp_path / 'gone.py'), tmp_path / 'broken.py'
    broken.write_text('name = (')
    values = {gone: 10, str(broken): 20, 'mnist': 90}
    first, second = column(values, config='a.py'), column({gone: 5}, config='b.py')
    lines = [
        '| MNIST | accuracy | 90.00 |',
        f'| {gone} | accuracy | 10.00 |',
        f'| {broken} | accuracy | 20.00 |',
        '| mean of 1 of 18 | | 90.00 |',
        '',
        f'No config can be read here of {gone}, {broken}.',
    ]
    assert table([first]).splitlines()[2:] == lines
    assert table([first, second]).splitlines()[-3:] == [
        'a is better than b on 1 of 1',
        '',
        lines[-1],
    ]


@pytest.mark.parametrize(
    'result', [None, [], {}, dict(value=1), dict(value='1', metric='accuracy')]
)
def test_results_without_a_value_are_refused(tmp_path, result):
    path, settings = tmp_path / 'results.json', dict(config='a.py')
    path.write_text(json.dumps(dict(settings=settings, results=dict(mnist=result))))
    with pytest.raises(ValueError, match=r'results\.json is no file of results'):
        read_columns(str(path), [settings])


@pytest.mark.parametrize(
    ('root', 'folder'),
    [
        ('data/mine', 'mine'),
        ('data/mine/', 'mine'),
        ('data/mine//', 'mine'),
        ('/data/other/../mine/.', 'mine'),
        ('', ''),
    ],
)
def test_a_data_folder_is_taken_by_its_name(tmp_path, root, folder):
    config = tmp_path / 'own.py'
    config.write_text(
        f"name = 'Own'\ndata_root = {root!r}\ntrain = dict(data_root=data_root)\n"
    )
    cfg = load_data_config(str(config), '/sets')
    assert cfg.data_root == cfg.train.data_root == f'/sets/{folder}'


def test_models_have_short_names_that_differ():
    a = dict(config='a/esvit.py', checkpoint='x/epoch_1.pth', source='teacher')
    auto = dict(config='auto', checkpoint='swin.pth', source='backbone')
    timm = dict(config='timm::resnet50', checkpoint='r.pth', source='backbone')
    for settings, expected in (
        ([a], ['esvit']),
        ([a, auto], ['esvit', 'swin']),
        ([a, timm], ['esvit', 'timm::resnet50']),
        ([a, {**a, 'source': 'student'}], ['esvit, teacher', 'esvit, student']),
        (
            [a, {**a, 'checkpoint': 'epoch_2.pth'}],
            ['esvit, epoch_1', 'esvit, epoch_2'],
        ),
    ):
        columns = [dict(settings=one, results={}) for one in settings]
        assert labels(columns) == expected


@pytest.mark.slow
def test_another_set_is_given_by_its_config(setup, capsys):
    folder, args = setup
    digits, own = ROOT / 'configs' / 'demo' / 'transfer_digits.py', folder / 'own.py'
    few = 'dict(dataset=dict(indices=60))'
    own.write_text(
        f"_base_ = [{str(digits)!r}]\nname = 'Own'\ntrain = {few}\nval = {few}\n"
        'test = dict(indices=20)\n'
    )
    out = folder / 'results.json'
    output = run('transfer.py', *args, '--datasets', own, 'fer2013', '-o', out)
    results = json.loads(out.read_text())['results']
    assert list(results) == ['fer2013', str(own)]
    assert sum(results[str(own)]['images']) == 80
    values = [result['value'] for result in results.values()]
    # The mean is over the paper's sets alone.
    assert output.split('\n\n')[-1].splitlines()[2:] == [
        f'| FER2013 | accuracy | {values[0]:.2f} |',
        f'| Own | accuracy | {values[1]:.2f} |',
        f'| mean of 1 of 18 | | {values[0]:.2f} |',
    ]
    with pytest.raises(SystemExit):
        run('transfer.py', *args, '--datasets', 'imagenet', '-o', out)
    assert "no data set 'imagenet'; give names of food101, cifar10" in (
        capsys.readouterr().err
    )


def plain_features(model, images, source, blocks):
    """Features of one image after the other."""
    backbone = model.backbone if source == 'student' else model.teacher['backbone']
    with torch.no_grad():
        for image in images:
            batch = dict(inputs=image[None])
            inputs = model.data_preprocessor(batch)['inputs']
            if blocks is None:
                yield model.encode(inputs, source)[0][0]
            else:
                yield pool_last_blocks(backbone, inputs, blocks)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'source', 'blocks'),
    [((), 'teacher', None), (('--student', '--features', 'last_blocks'), 'student', 4)],
)
def test_the_result_is_the_probes(setup, options, source, blocks):
    folder, args = setup
    out = folder / 'results.json'
    run('transfer.py', *args, '--datasets', 'fer2013', *options, '-o', out)
    found = json.loads(out.read_text())['results']['fer2013']
    model = get_model(args[0], args[1])
    cfg = load_config(
        str(ROOT / 'configs' / 'transfer' / 'fer2013.py'),
        dict(data_root=str(folder / 'sets' / 'fer2013')),
    )
    parts = []
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[split])
        images = [dataset[i]['inputs'] for i in range(len(dataset))]
        parts.append(torch.stack([*plain_features(model, images, source, blocks)]))
        parts.append(np.array([0, 6, 0, 6]))
    expected = logistic_probe(*parts)
    assert found['value'] == expected.value
    assert [*found['sweep'].values()] == pytest.approx([*expected.sweep.values()])


@pytest.mark.slow
def test_one_set_that_fails_does_not_stop_the_others(setup):
    folder, args = setup
    out = folder / 'results.json'
    # Damage that shows only when the image is read.
    (folder / 'sets' / 'hateful_memes' / 'img' / 'train3.png').write_bytes(b'')
    (folder / 'sets' / 'fer2013' / 'fer2013.csv').write_text('a,b\n')
    sets = ('fer2013', 'mnist', 'hateful_memes')
    with pytest.raises(RuntimeError, match='2 of 3 data sets failed') as error:
        run('transfer.py', *args, '--datasets', *sets, '-o', out)
    assert 'train3.png' in str(error.value)
    assert 'no column emotion in line 1' in str(error.value)
    assert list(json.loads(out.read_text())['results']) == ['mnist']


def test_mistakes_are_named_before_anything_runs(setup):
    folder, args = setup
    out = ('-o', folder / 'results.json')
    with pytest.raises(FileNotFoundError, match=r'dtd: .*sets/dtd, stl10: ') as error:
        run('transfer.py', *args, '--datasets', 'stl10', 'fer2013', 'dtd', *out)
    assert 'fer2013:' not in str(error.value)
    (folder / 'sets' / 'stl10_binary').mkdir()
    (folder / 'sets' / 'stl10_binary' / 'other').touch()
    with pytest.raises(FileNotFoundError, match=r'train_X.bin, which does not exist'):
        run('transfer.py', *args, '--datasets', 'fer2013', 'stl10', *out)
    (folder / 'results.json').write_text('[]')
    with pytest.raises(ValueError, match='no file of results'):
        run('transfer.py', *args, '--datasets', 'fer2013', *out)
    with pytest.raises(SystemExit):
        run('transfer.py', *args, '-o', folder / 'results.txt')
    with pytest.raises(NotADirectoryError, match=r'results\.json is no folder'):
        run('transfer.py', *args, '-o', folder / 'results.json' / 'a.json')
    with pytest.raises(FileNotFoundError, match='data folders do not exist'):
        run('transfer.py', *args, '-o', folder / 'none' / 'results.json')
    assert not (folder / 'none').exists()


def test_labels_are_the_classes(setup):
    root = setup[0] / 'sets'
    cfg = load_data_config('voc2007', str(root))
    labels = read_labels(DATASETS.build(cfg.val), cfg)
    assert labels.shape == (20, 20)
    # Of the first image the second object is difficult, of the others it counts.
    assert labels[0].tolist() == [1, -1] + [0] * 18
    assert labels[1].tolist() == [0, 1, 1] + [0] * 17
    cfg = load_data_config('fer2013', str(root))
    cfg.num_classes = 6
    with pytest.raises(ValueError, match='FER2013: image 1 has the label 6, but there'):
        read_labels(DATASETS.build(cfg.val), cfg)


def test_every_set_has_a_config():
    assert sorted(NAMES) == sorted(made_up_transfer.MAKERS)
    assert len(NAMES) == 18


@pytest.mark.slow
def test_images_are_as_large_as_the_model_was_trained_on(setup):
    folder, args = setup
    out = folder / 'results.json'
    options = ('--datasets', 'fer2013', '-o', out)
    small = ('--cfg-options', 'model.backbone.img_size=128')
    output = run('transfer.py', *args, *options, *small)
    assert 'FER2013, train: 4 images of 128 px' in output
    assert json.loads(out.read_text())['results']['fer2013']['size'] == 128
    with pytest.raises(ValueError, match="results of .*, not of .*'size': 32"):
        run('transfer.py', *args, *options, *small, '--size', 32)
    out.unlink()
    output = run('transfer.py', *args, *options, '--size', 32)
    assert 'FER2013, test: 4 images of 32 px' in output
    assert json.loads(out.read_text())['settings']['size'] == 32
