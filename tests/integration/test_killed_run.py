"""A killed training goes on."""

import os
import signal
import subprocess
import sys

from support.paths import ROOT
from support.tools import run

# 3 epochs of 4 iterations
TINY = ROOT / 'tests' / 'support' / 'faults' / 'tiny.py'


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    """kill -9 in the third epoch, then --resume, by the command line."""
    config, folder = tmp_path / 'config.py', tmp_path / 'run'
    text = f'_base_ = {str(TINY)!r}\n'
    wait = "custom_hooks = [dict(type='At', iteration=9, what='sleep', seconds=600)]\n"
    config.write_text(text + wait)
    command = ('train.py', config, '--work-dir', folder)
    process = subprocess.Popen(
        [sys.executable, ROOT / 'tools' / command[0], *command[1:]],
        env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "tests"}'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = iter(process.stdout.readline, '')
    assert any('sleeping in iteration 9' in line for line in lines), 'it has ended'
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert 'epoch_2.pth' in (folder / 'last_checkpoint').read_text()
    assert not (folder / 'epoch_3.pth').exists()
    config.write_text(text)
    log = run(*command, '--resume')
    assert 'resumed epoch: 2' in log
    assert 'Epoch(train) [3][1/4]' in log and 'Epoch(train) [2][' not in log
    assert (folder / 'epoch_3.pth').exists()
