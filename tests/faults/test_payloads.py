"""Files from elsewhere run no code, and reach nothing outside their folder."""

import shutil

import numpy as np
import pytest
import torch
from support.faults import payloads
from support.faults.entries import TOOLS, start
from support.faults.forks import start_tool
from support.faults.runs import (
    checkpoints,
    ended,
    load,
    run_cases,
    start_train,
    write_config,
)

PLACES = ('weights', 'meta', 'optimizer', 'all')
FORMS = ('zip', 'legacy', 'pickle')


def refused(run, path, marker):
    ended(run, 1)
    assert not marker.exists(), 'the payload has run'
    assert len(run.message.splitlines()) <= 3, run.message
    assert path.name in run.message, run.message
    lower = run.message.lower().replace(str(path.parent).lower(), '')
    assert not [word for word in payloads.ALLOWING if word in lower], run.message


def test_payloads_work_where_nothing_protects(tmp_path):
    """Otherwise that they do not run would mean nothing."""
    # These need what is not there, or only look like payloads.
    dead = ('getattr', 'torch.hub', 'torch.load', 'Path.touch', 'numpy')

    def case(name):
        marker = tmp_path / f'{name}.marker'
        path = tmp_path / f'{name}.pth'
        torch.save(payloads.objects(marker)[name], path)

        def read():
            torch.load(path, weights_only=False)

        yield start_tool(read, folder=tmp_path)
        assert marker.exists()

    names = [name for name in payloads.objects('x') if name not in dead]
    run_cases({name: case(name) for name in names})


def test_no_entry_runs_code_of_a_checkpoint(tmp_path, trained):
    contents = {name: load(path) for name, path in trained.items()}
    kinds = list(payloads.objects('x'))

    def case(number, entry):
        folder = tmp_path / f'{entry}{number}'
        folder.mkdir()
        marker, path = folder / 'marker', folder / 'evil.pth'
        payload = payloads.objects(marker)[kinds[number % len(kinds)]]
        content = contents['classifier' if entry == 'test' else 'esvit']
        place, form = PLACES[number % 4], FORMS[number % 3]
        payloads.save(path, payloads.spoiled(content, place, payload), form)
        run = start(entry, path, folder)
        yield run
        refused(run, path, marker)

    # Each entry four kinds; each kind at several entries.
    cases = {}
    for i, entry in enumerate(TOOLS):
        for number in range(4 * i + i, 4 * i + i + 4):
            kind = kinds[number % len(kinds)]
            cases[f'{entry}, {kind}, {FORMS[number % 3]}'] = case(number, entry)
    run_cases(cases)


def test_resume_without_a_name_skips_a_payload(tmp_path, trained):
    for number in range(2):
        folder = tmp_path / str(number)
        shutil.copytree(trained['esvit'].parent, folder / 'run')
        (folder / 'run' / 'epoch_3.pth').unlink()
        marker = folder / 'marker'
        payload = payloads.objects(marker)['os.system']
        content = load(trained['esvit'])
        path = folder / 'run' / 'epoch_3.pth'
        payloads.save(path, payloads.spoiled(content, 'meta', payload), FORMS[number])
        run = start_train(folder, '--resume').wait()
        ended(run)
        assert not marker.exists()
        assert 'epoch_3.pth' in run.text.split('Left out')[1].splitlines()[0]
        assert 'Epoch(train) [3][1/4]' in run.text


def test_text_of_a_checkpoint_is_not_run(tmp_path, trained):
    """``meta['config']`` is Python to mmengine's Runner."""

    def case(entry):
        folder = tmp_path / entry
        folder.mkdir()
        marker = folder / 'marker'
        content = load(trained['esvit'])
        content['meta']['config'] = f'open({str(marker)!r}, "w").close()'
        content['meta']['epoch'] = content['meta']['iter'] = 0
        path = payloads.save(folder / 'evil.pth', content, 'zip')
        run = start(entry, path, folder)
        yield run
        assert not marker.exists(), 'the text has run'
        assert run.code == 0 or path.name in run.message, run.tail

    entries = ('resume', 'load_from', 'mmengine', 'knn', 'extract_backbone')
    run_cases({entry: case(entry) for entry in entries})


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('keep_ckpt_ids', ['../../precious', '/precious']),
        ('keep_ckpt_ids', '../../precious'),
        ('keep_ckpt_ids', [1, 2, 10**30]),
        ('best_ckpt', 'PRECIOUS'),
        ('last_ckpt', 'PRECIOUS'),
    ],
)
def test_a_checkpoint_deletes_nothing_elsewhere(tmp_path, trained, key, value):
    precious = tmp_path / 'precious.pth'
    precious.write_text('a year of work')
    (tmp_path / 'epoch_1.pth').write_text('a year of work')
    content = load(trained['esvit'])
    value = str(precious) if value == 'PRECIOUS' else value
    content['message_hub']['runtime_info'][key] = value
    content['meta']['epoch'], content['meta']['iter'] = 1, 4
    # In a folder of its own: what is beside it may be deleted.
    (tmp_path / 'given').mkdir()
    path = payloads.save(tmp_path / 'given' / 'evil.pth', content, 'zip')
    config = write_config(
        tmp_path / 'c.py', default_hooks=dict(checkpoint=dict(max_keep_ckpts=1))
    )
    run = start_train(tmp_path, '--resume', path, config=config).wait()
    assert run.code == 0 or path.name in run.message, run.tail
    assert precious.read_text() == (tmp_path / 'epoch_1.pth').read_text()
    if run.code == 0:
        assert checkpoints(tmp_path) == ['epoch_3.pth']


def test_downloaded_checkpoints_are_checked_too(tmp_path):
    """Whatever fetches a file, it is read with the protection."""
    marker, path = tmp_path / 'marker', tmp_path / 'evil.pth'
    torch.save(payloads.objects(marker)['os.system'], path)
    for url in (f'file://{path}', 'http://example.org/evil.pth'):
        (tmp_path / 'hub').mkdir(exist_ok=True)
        torch.save(payloads.objects(marker)['os.system'], tmp_path / 'hub' / 'evil.pth')
        config = write_config(
            tmp_path / 'c.py',
            model=dict(init_cfg=dict(type='Pretrained', checkpoint=url)),
        )

        def fetch(config=config):
            import sys

            import mmengine.runner.checkpoint as module
            from support.faults.forks import run_script

            # What it would download is there already.
            load_url = module.load_url
            module.load_url = lambda address, **options: load_url(
                address, **{**options, 'model_dir': str(tmp_path / 'hub')}
            )
            sys.argv = ['train.py', str(config), '--work-dir', str(tmp_path / 'run')]
            run_script('train.py')

        run = start_tool(fetch, folder=tmp_path).wait()
        ended(run, 1)
        assert not marker.exists(), 'the payload has run'
        assert 'evil.pth' in run.message, run.message


def arrays(path, marker, key):
    values = dict(paths=np.array(['a', 'b', 'c', 'd']), pooled=np.eye(4))
    payload = np.empty(4, object)
    payload[:] = [payloads.objects(marker)['os.system']] * 4
    values[key] = payload
    np.savez(path, **values)


@pytest.mark.parametrize('key', ['paths', 'pooled', 'other'])
def test_arrays_with_pickles(tmp_path, key):
    marker, path = tmp_path / 'marker', tmp_path / 'features.npz'
    arrays(path, marker, key)
    args = ('analysis_tools/embedding.py', path, '-o', tmp_path / 'out.png')
    run = start_tool(*args, folder=tmp_path).wait()
    if key == 'other':  # which nobody asks for, and nobody reads
        ended(run)
        assert not marker.exists(), 'the payload has run'
    else:
        refused(run, path, marker)


def test_results_and_logs_are_data(tmp_path, trained):
    marker = tmp_path / 'marker'
    line = f'__import__("os").system("touch {marker}")'
    out = tmp_path / 'out.json'
    out.write_text(line)
    run = start('transfer', trained['esvit'], tmp_path, out=out).wait()
    refused(run, out, marker)
    assert out.read_text() == line
    log = tmp_path / 'scalars.json'
    log.write_text(line + '\n')
    args = ('analysis_tools/learning_curves.py', log, '-o', tmp_path / 'o.png')
    run = start_tool(*args, folder=tmp_path).wait()
    refused(run, log, marker)
