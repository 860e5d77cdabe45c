"""The launcher's ends, on two processes of a tiny script."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.paths import ROOT

# Three programs import torch, beside other tests; seconds.
LIMIT = 240
# Stands for a training: it has a child as a data loader has, and ends after a signal.
SCRIPT = """
import os, signal, subprocess, sys, time

def handle(number, frame):
    log(f'got {number}')
    time.sleep(float(os.environ.get('SAVING', 0.5)))
    # A data loader is needed until the checkpoint is written.
    log(f'child {"ended" if child.poll() is not None else "lives"}')
    sys.exit(128 + number)

def log(text):
    with open(os.path.join(sys.argv[1], os.environ['RANK']), 'a') as file:
        file.write(text + '\\n')

child = subprocess.Popen(['sleep', '300'])
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handle)
log(f'started {os.getpid()} {child.pid}')
if os.environ.get('GROUP'):
    import torch.distributed as dist
    dist.init_process_group('gloo')
    dist.barrier()
if os.environ['RANK'] == os.environ.get('FAILS'):
    # The launcher stops the others at once: all of them must handle signals by then.
    other = os.path.join(sys.argv[1], '01'.replace(os.environ['RANK'], ''))
    while not os.path.exists(other):
        time.sleep(0.02)
    exec(os.environ['HOW'])
while True:
    time.sleep(0.02)
"""


@pytest.fixture
def launch(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    started = []

    def start(*options, **env):
        command = [sys.executable, '-m', 'esvit_plugin.engine.dist_run', *options]
        command += ['--nproc_per_node=2', str(script), str(tmp_path)]
        process = subprocess.Popen(
            command,
            env={**os.environ, 'PYTHONPATH': str(ROOT), **env},
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
    # What a launcher that hangs has started is in sessions of its own.
    for pid in filter(is_running, all_pids(tmp_path)):
        os.kill(pid, signal.SIGKILL)
    for process in started:
        process.communicate()


def logs(folder):
    return [
        path.read_text().splitlines() if (path := folder / rank).exists() else []
        for rank in '01'
    ]


def wait_for(condition, seconds=LIMIT):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'too late'
        time.sleep(0.02)


def started(folder):
    return all(lines and lines[0].startswith('started') for lines in logs(folder))


def all_pids(folder):
    """Of the processes and of their children, of all starts."""
    lines = [line for lines in logs(folder) for line in lines if 'started' in line]
    return [int(pid) for line in lines for pid in line.split()[1:]]


def is_running(pid):
    try:
        # A process that has ended, but that nobody waits for, has no command line.
        return bool(Path(f'/proc/{pid}/cmdline').read_bytes())
    except FileNotFoundError:
        return False


def nothing_runs(folder):
    pids = all_pids(folder)
    assert len(pids) == 4
    wait_for(lambda: not any(map(is_running, pids)), seconds=30)
    return True


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1', 'SIGINT'])
def test_a_signal_reaches_the_processes_once(launch, tmp_path, name):
    number = getattr(signal, name)
    process = launch(GROUP='1' if name == 'SIGTERM' else '')
    wait_for(lambda: started(tmp_path))
    process.send_signal(number)
    error = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 128 + number, error
    for lines in logs(tmp_path):
        assert lines[1:] == [f'got {number}', 'child lives']
    assert nothing_runs(tmp_path)
    assert error.splitlines()[-1] == f'{name}: all processes have ended.'
    assert 'Traceback' not in error


def test_what_is_ignored_stays_ignored(launch, tmp_path):
    """As under nohup, and of a job in the background of a script."""
    ignored = (signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        process = launch()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    wait_for(lambda: started(tmp_path))
    pids = [process.pid, *(int(lines[0].split()[1]) for lines in logs(tmp_path))]
    for number in ignored:
        for pid in pids:
            os.kill(pid, number)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 143
    for lines in logs(tmp_path):
        assert lines[1:] == [f'got {signal.SIGTERM}', 'child lives']
    assert nothing_runs(tmp_path)


def test_a_second_interrupt_ends_all_at_once(launch, tmp_path):
    process = launch(SAVING='100')
    wait_for(lambda: started(tmp_path))
    process.send_signal(signal.SIGINT)
    wait_for(lambda: all(len(lines) == 2 for lines in logs(tmp_path)))
    # Slurm and others repeat this one.
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT)
    assert time.monotonic() - before < 50
    assert process.returncode == 130
    assert nothing_runs(tmp_path)


def test_what_does_not_end_in_time_is_killed(launch, tmp_path):
    process = launch(SAVING='100', ESVIT_SHUTDOWN_SECONDS='1')
    wait_for(lambda: started(tmp_path))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 143
    assert nothing_runs(tmp_path)


RECORDS = """
from esvit_plugin.engine.cli import run_tool
def fail():
    raise ValueError('lr = -1 must be above 0.')
run_tool(fail)
"""


@pytest.mark.parametrize(
    ('how', 'code', 'message'),
    [
        (RECORDS, 1, 'error: lr = -1 must be above 0.\n(process 1 failed first)'),
        ('os.kill(os.getpid(), signal.SIGKILL)', 137, 'was ended by SIGKILL: memory'),
    ],
)
def test_the_first_failure_counts(launch, tmp_path, how, code, message):
    process = launch(FAILS='1', HOW=how)
    error = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == code, error
    assert message in error
    assert 'Traceback' not in error
    assert nothing_runs(tmp_path)
    # The other one had its time.
    assert logs(tmp_path)[0][1:] == [f'got {signal.SIGTERM}', 'child lives']


def test_restarts_begin_again_and_may_still_be_ended(launch, tmp_path):
    # The second process fails at its first start alone.
    how = "os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and sys.exit(3)"
    process = launch('--max_restarts=1', FAILS='1', HOW=how)
    wait_for(lambda: all(str(lines).count('started') == 2 for lines in logs(tmp_path)))
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 128 + signal.SIGTERM, error
    for lines in logs(tmp_path):
        assert lines[-2:] == [f'got {signal.SIGTERM}', 'child lives']
    pids = all_pids(tmp_path)
    assert len(pids) == 8
    wait_for(lambda: not any(map(is_running, pids)), seconds=30)


def test_a_process_that_is_told_to_end_is_not_started_again(launch, tmp_path):
    how = 'os.kill(os.getpid(), signal.SIGUSR1)'
    process = launch('--max_restarts=1', FAILS='1', HOW=how, SAVING='0')
    error = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 128 + signal.SIGUSR1, error
    assert all(str(lines).count('started') == 1 for lines in logs(tmp_path))
