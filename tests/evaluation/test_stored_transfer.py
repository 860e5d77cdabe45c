"""Which results of a file of the transfer evaluation are kept, and which refused."""

import json
import os

import pytest
from support import made_up_transfer
from support.paths import ROOT

from esvit_plugin.evaluation import transfer_run
from esvit_plugin.evaluation.transfer_run import evaluate_models


@pytest.fixture
def values(monkeypatch):
    """What each evaluation gives, in place of the model."""
    made_up_transfer.stand_in(monkeypatch)
    coming = iter(range(1, 100))

    class Evaluator:
        def __init__(self, settings):
            pass

        def __call__(self, cfg):
            return dict(value=next(coming), metric=cfg.metric, c=1.0, seconds=0)

    monkeypatch.setattr(transfer_run, '_Evaluator', Evaluator)


@pytest.fixture
def evaluate(tmp_path, values):
    """Evaluate a checkpoint on data sets of a folder; the stored results."""
    for root in ('a', 'b'):
        for name in ('fer2013', 'mnist'):
            made_up_transfer.MAKERS[name](tmp_path / root / name)
    (tmp_path / 'checkpoint.pth').write_bytes(b'first')
    settings = dict(
        config='a.py', checkpoint=str(tmp_path / 'checkpoint.pth'), source='teacher'
    )

    def evaluate(*names, root='a', size=None, **kwargs):
        out = tmp_path / 'results.json'
        mine = settings if size is None else {**settings, 'size': size}
        args = ([mine], names, str(tmp_path / root), str(out))
        evaluate_models(*args, **kwargs)
        return json.loads(out.read_text())['results']

    return evaluate


def without(tmp_path, key):
    """Make the stored results such of an older version."""
    path = tmp_path / 'results.json'
    content = json.loads(path.read_text())
    for result in content['results'].values():
        del result[key]
    path.write_text(json.dumps(content))


def test_results_of_another_data_folder_are_refused(tmp_path, evaluate, capsys):
    first = evaluate('mnist')
    assert first['mnist']['data_root'] == os.path.realpath(tmp_path / 'a' / 'mnist')
    for names in (['mnist'], ['fer2013', 'mnist']):
        with pytest.raises(
            ValueError, match='mnist of the .*/a/mnist, not of .*/b/mnist'
        ):
            evaluate(*names, root='b')
    # The same folder by another name.
    (tmp_path / 'link').symlink_to('a')
    capsys.readouterr()
    assert evaluate('fer2013', 'mnist', root='link')['mnist'] == first['mnist']
    assert 'results.json has mnist already; --force does' in capsys.readouterr().out
    assert evaluate('mnist', root='b', force=True)['mnist']['value'] == 3
    without(tmp_path, 'data_root')
    assert evaluate('mnist')['mnist']['value'] == 3
    assert 'Of mnist it does not say from which data' in capsys.readouterr().out


def test_results_of_an_older_checkpoint_are_refused(tmp_path, evaluate):
    evaluate('mnist', 'fer2013')
    checkpoint = tmp_path / 'checkpoint.pth'
    # The time of a copy is no difference.
    os.utime(checkpoint, (1, 1))
    assert evaluate('mnist')['mnist']['value'] == 1
    checkpoint.write_bytes(b'later')
    # Of those that are not asked for, too: the table has them beside the new ones.
    for names, force in ((['mnist'], False), (['mnist'], True), ([], False)):
        with pytest.raises(ValueError, match=r'checkpoint\.pth was before it was'):
            evaluate(*names, force=force)
    found = evaluate('mnist', 'fer2013', force=True)
    assert [found[name]['value'] for name in ('mnist', 'fer2013')] == [3, 4]
    without(tmp_path, 'checkpoint_digest')
    assert evaluate('mnist', 'fer2013') == {
        name: {key: value for key, value in result.items() if 'digest' not in key}
        for name, result in found.items()
    }


def test_what_another_run_writes_meanwhile_is_kept(tmp_path, evaluate, monkeypatch):
    old = evaluate('mnist', 'fer2013')
    path = tmp_path / 'results.json'
    write = transfer_run.write_columns

    def write_and_let_another(out, columns):
        write(out, columns)
        content = json.loads(path.read_text())
        if content['results']['fer2013'] == old['fer2013']:
            # It has done the other set again, and compares with a second model.
            content['results']['fer2013'] = {**old['fer2013'], 'value': 50}
            results = dict(mnist=dict(value=60, metric='accuracy'))
            content['against'] = dict(settings=dict(config='b.py'), results=results)
            path.write_text(json.dumps(content))

    monkeypatch.setattr(transfer_run, 'write_columns', write_and_let_another)
    made_up_transfer.MAKERS['dtd'](tmp_path / 'a' / 'dtd')
    found = evaluate('dtd', 'mnist', force=True)
    assert {name: result['value'] for name, result in found.items()} == {
        'dtd': 3,
        'mnist': 4,
        'fer2013': 50,
    }
    content = json.loads(path.read_text())
    assert content['against']['results']['mnist']['value'] == 60


def test_a_size_that_a_data_set_does_not_take_is_refused(tmp_path, evaluate):
    own = tmp_path / 'own.py'
    mnist = ROOT / 'configs' / 'transfer' / 'mnist.py'
    own.write_text(f'_base_ = [{str(mnist)!r}]\nsize = None\n')
    with pytest.raises(ValueError, match=r'--size 32: the configs of .*own\.py have'):
        evaluate('mnist', str(own), size=32)
    assert not (tmp_path / 'results.json').exists()
    assert list(evaluate('mnist', size=32)) == ['mnist']
