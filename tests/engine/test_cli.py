import json
import os
import signal
import subprocess
import sys
import time

import pytest
from torch.utils.data import DataLoader

from esvit_plugin.engine import cli


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ('ESVIT_TRACEBACK', 'RANK', 'SLURM_PROCID', 'TORCHELASTIC_ERROR_FILE'):
        monkeypatch.delenv(name, raising=False)


def end_of(error):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        cli.run_tool(main)
    return end.value.code


class Odd(Exception):
    pass


WORKER = """Caught ValueError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "a.py", line 1, in f
    g()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "worker.py", line 2, in run
    fetch()
ValueError: a.jpg is damaged.
Copy it again.
"""


@pytest.mark.parametrize(
    ('error', 'lines'),
    [
        (ValueError('lr = -1'), ['lr = -1']),
        (ValueError('1\n\n 2\n3\n4'), ['1', '2', '3']),
        (
            FileNotFoundError(2, 'No such file', 'a.pth'),
            ["[Errno 2] No such file: 'a.pth'"],
        ),
        (KeyError('X is not in the registry.'), ['X is not in the registry.']),
        (KeyError('x'), ['KeyError: x', cli.HINT]),
        (RuntimeError('a\nb\nc'), ['RuntimeError: a', 'b', cli.HINT]),
        (Odd(), ['Odd.', cli.HINT]),
        (ValueError(), ['ValueError.', cli.HINT]),
        (cli.Failure('1 of 2 failed'), ['1 of 2 failed']),
        (ValueError(WORKER), ['a.jpg is damaged.', 'Copy it again.']),
        (ValueError('class `A` in m/a.py: class `Bee` in m/b.py: no'), ['Bee: no']),
        (ValueError('class `Bee` in m/b.py: Bee needs x'), ['Bee needs x']),
        (KeyError("class `A` in m/a.py: 'B is not there.'"), ['A: B is not there.']),
    ],
)
def test_errors_are_a_few_lines(capsys, error, lines):
    assert end_of(error) == 1
    assert capsys.readouterr().err == 'error: ' + '\n'.join(lines) + '\n'


def test_a_syntax_error_has_its_place():
    with pytest.raises(SyntaxError) as error:
        compile('a = (', 'config.py', 'exec')
    assert cli.describe(error.value).startswith('config.py, line 1: ')


@pytest.mark.parametrize('how', ['variable', 'option'])
def test_tracebacks_on_request(capsys, monkeypatch, how):
    if how == 'variable':
        monkeypatch.setenv('ESVIT_TRACEBACK', '1')
    else:
        monkeypatch.setattr(sys, 'argv', ['tool', '--traceback'])
    assert end_of(ValueError('no')) == 1
    error = capsys.readouterr().err
    assert 'Traceback (most recent call last)' in error
    assert error.endswith('error: no\n')


def test_other_ends(capsys):
    assert end_of(KeyboardInterrupt()) == 130
    assert end_of(SystemExit(7)) == 7
    assert end_of(SystemExit('text')) == 'text'
    cli.run_tool(lambda: None)
    assert capsys.readouterr().err == ''


def test_the_code_of_a_saved_end_is_not_replaced_by_a_late_signal():
    """A launcher ends all processes when the first has ended."""
    assert end_of(SystemExit(138)) == 138
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_processes_record_and_the_first_prints(capsys, monkeypatch, tmp_path):
    record = tmp_path / 'error.json'
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(record))
    for rank, printed in (('1', ''), ('0', 'error: no\n')):
        monkeypatch.setenv('RANK', rank)
        assert end_of(ValueError('no')) == 1
        assert capsys.readouterr().err == printed
        message = json.loads(record.read_text())['message']
        assert message['message'] == 'no'
        assert abs(int(message['extraInfo']['timestamp']) - time.time()) < 60
        record.unlink()
    # Slurm starts processes without torch's launcher.
    monkeypatch.delenv('TORCHELASTIC_ERROR_FILE')
    monkeypatch.delenv('RANK')
    monkeypatch.setenv('SLURM_PROCID', '3')
    assert end_of(ValueError('no')) == 1
    assert capsys.readouterr().err == 'error (process 3): no\n'


def test_a_record_that_cannot_be_written_does_not_hide_the_error(
    capsys, monkeypatch, tmp_path
):
    (tmp_path / 'a.json').mkdir()
    for record in ('cleared/a.json', 'a.json'):
        monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / record))
        for rank, place in (('0', ''), ('1', ' (process 1)')):
            monkeypatch.setenv('RANK', rank)
            assert end_of(ValueError('no')) == 1
            assert capsys.readouterr().err == f'error{place}: no\n'


@pytest.mark.parametrize('error', [ValueError('no'), SystemExit(138)])
def test_workers_do_not_keep_a_program_alive(error):
    loader = DataLoader(
        range(99), num_workers=1, persistent_workers=True, collate_fn=list
    )
    worker = next(iter_ := iter(loader)) and iter_._workers[0]
    # As one that hangs: it does not listen.
    os.kill(worker.pid, signal.SIGSTOP)
    # torch raises an error when a worker is killed; this is no reason for one.
    assert end_of(error) in (1, 138)
    assert worker.exitcode == -9
    assert callable(signal.getsignal(signal.SIGCHLD))
    iter_._workers_status[0] = False  # nothing is left to end


def test_outputs(tmp_path):
    file = tmp_path / 'a.txt'
    file.touch()
    cli.check_output(str(file), str(tmp_path / 'none'))
    cli.check_output(str(tmp_path / 'new'), str(file))
    with pytest.raises(ValueError, match='is what is read'):
        cli.check_output(str(file), 'other', os.path.relpath(file))
    cli.check_output(str(tmp_path / 'new' / 'deep' / 'b.txt'), str(file))
    cli.check_output_folder(str(tmp_path / 'new' / 'deep'))
    link = tmp_path / 'link'
    link.symlink_to(tmp_path / 'none')
    for wrong in (file, link):
        with pytest.raises(NotADirectoryError, match=f'{wrong} is no folder; name an'):
            cli.check_output(str(wrong / 'deep' / 'b.txt'))
    for folder in (f'{tmp_path}', f'{tmp_path}/', f'{tmp_path}/new/'):
        with pytest.raises(ValueError, match='is a folder; name a file to write'):
            cli.check_output(folder)
    # Looking makes none.
    assert sorted(os.listdir(tmp_path)) == ['a.txt', 'link']
    with pytest.raises(NotADirectoryError, match='a.txt is no folder'):
        cli.check_output_folder(str(file / 'deep'))
    with pytest.raises(ValueError, match='--batch-size must be >= 1, got 0'):
        cli.check_at_least(1, size=None, batch_size=0)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_folders_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    for check, path in (
        (cli.check_output, tmp_path / 'a'),
        (cli.check_output, tmp_path / 'new' / 'a'),
        (cli.check_output_folder, tmp_path / 'a'),
    ):
        with pytest.raises(PermissionError, match='cannot be written to'):
            check(str(path))
    tmp_path.chmod(0o700)


@pytest.mark.slow
def test_any_name_can_be_printed():
    program = (
        'import sys; from esvit_plugin.engine.cli import run_tool; '
        'both = sys.stdout, sys.stderr; '
        "run_tool(lambda: [print('a\\udce4', file=one) for one in both])"
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={**os.environ, 'PYTHONIOENCODING': 'utf-8:strict'},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr, done.returncode) == ('a\\udce4\n',) * 2 + (0,)


def test_commands_of_one_process_refuse_torchrun(monkeypatch, capsys):
    ran = []

    def main():
        ran.append(main.__module__)

    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'a')
    main.__module__ = 'esvit_plugin.commands.extract_backbone'
    for number in ('2', '1'):
        monkeypatch.setenv('WORLD_SIZE', number)
        if number == '1':
            cli.run_tool(main)
            continue
        with pytest.raises(SystemExit):
            cli.run_tool(main)
        message = capsys.readouterr().err
        assert 'torchrun started 2 processes' in message
        assert 'Start esvit extract-backbone without it' in message and not ran
    monkeypatch.setenv('WORLD_SIZE', '2')
    main.__module__ = 'esvit_plugin.commands.train'
    cli.run_tool(main)
    assert len(ran) == 2
