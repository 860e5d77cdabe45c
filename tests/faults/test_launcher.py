"""Two processes started by ``tools/dist_train.sh``, as a user starts them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.faults.forks import ROOT, TINY
from support.faults.runs import (
    assert_same,
    checkpoints,
    ended,
    hooks,
    start_ranks,
    write_config,
)
from support.ports import free_port


class Launched:
    """A training and all that it starts."""

    def __init__(self, folder, *args, config=TINY, **env):
        port = str(free_port())
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / 'output'
        self.mark = f'PORT={port}'.encode()
        command = ['bash', ROOT / 'tools' / 'dist_train.sh', config, '2']
        with open(self.file, 'w') as file:
            self.process = subprocess.Popen(
                [*command, '--work-dir', folder / 'run', *args],
                env={
                    **os.environ,
                    'PORT': port,
                    'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
                    **env,
                },
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def text(self):
        return self.file.read_text(errors='replace')

    def wait_for(self, text, timeout=180):
        end = time.monotonic() + timeout
        while text not in self.text:
            assert self.process.poll() is None and time.monotonic() < end, self.tail
            time.sleep(0.02)

    @property
    def tail(self):
        return f'{self.process.returncode}: {self.text[-1500:]}'

    def processes(self):
        """All that it has started and that run, with their environments."""
        found = {}
        for folder in Path('/proc').glob('[0-9]*'):
            try:
                env = folder.joinpath('environ').read_bytes().split(b'\0')
                # Nobody has waited for one without a command line.
                if self.mark in env and folder.joinpath('cmdline').read_bytes():
                    found[int(folder.name)] = env
            except OSError:
                continue
        return found

    def end(self, code, timeout=180):
        self.process.wait(timeout)
        assert self.process.returncode == code, self.tail
        assert 'Traceback' not in self.text, self.tail
        end = time.monotonic() + 30
        while self.processes():
            assert time.monotonic() < end, f'left: {list(self.processes())}'
            time.sleep(0.05)

    def kill(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def launch():
    started = []

    def start(*args, **kwargs):
        started.append(Launched(*args, **kwargs))
        return started[-1]

    yield start
    for launched in started:
        launched.kill()


def test_a_signal_to_the_launcher(tmp_path, launch):
    pause = dict(type='At', iteration=3, what='sleep', seconds=1)
    config = write_config(tmp_path / 'c.py', custom_hooks=hooks(pause))
    launched = launch(tmp_path, config=config)
    launched.wait_for('sleeping in iteration 3')
    launched.process.send_signal(signal.SIGTERM)
    launched.end(143)
    how = [line for line in launched.text.splitlines() if '--resume' in line]
    assert len(how) == 1, launched.tail
    assert 'recovery.pth' in checkpoints(tmp_path)
    both = [start_ranks(tmp_path, '--resume'), start_ranks(tmp_path / 'whole')]
    for run in [run for runs in both for run in runs]:
        ended(run.wait())
    folders = [path / 'run' / 'epoch_3.pth' for path in (tmp_path, tmp_path / 'whole')]
    assert_same(*folders)


def test_a_process_that_stops_answering(tmp_path, launch):
    pause = dict(type='At', iteration=3, what='sleep', seconds=1)
    config = write_config(
        tmp_path / 'c.py',
        custom_hooks=hooks(pause),
        default_hooks=dict(recovery=dict(timeout=10)),
        env_cfg=dict(dist_cfg=dict(timeout=10)),
    )
    launched = launch(tmp_path, config=config, ESVIT_SHUTDOWN_SECONDS='2')
    launched.wait_for('sleeping in iteration 3')
    pids = [pid for pid, env in launched.processes().items() if b'RANK=1' in env]
    os.kill(pids[0], signal.SIGSTOP)
    launched.end(1, timeout=100)
    lines = [line for line in launched.text.splitlines() if 'error' in line]
    assert lines and '--resume' in launched.text, launched.tail
    assert checkpoints(tmp_path) == ['epoch_1.pth']
