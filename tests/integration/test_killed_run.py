"""A killed training goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.paths import ROOT


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    """kill -9 in the third epoch, then --resume, by the command line."""
    command = [
        sys.executable,
        str(ROOT / 'tools' / 'train.py'),
        str(ROOT / 'configs' / 'demo' / 'esvit_swin_photos.py'),
        '--work-dir',
        str(tmp_path),
        '--cfg-options',
        'train_cfg.max_epochs=4',
        'train_dataloader.dataset.num_train=4',
        'train_dataloader.batch_size=16',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'default_hooks.logger.interval=1',
        'model.neck.hidden_channels=64',
        'model.region_neck.hidden_channels=64',
    ]
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 120
    while not (tmp_path / 'epoch_2.pth').exists() and time.time() < deadline:
        time.sleep(0.02)
        assert process.poll() is None, 'training ended by itself'
    while 'epoch_2.pth' not in (tmp_path / 'last_checkpoint').read_text():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'epoch_4.pth').exists()
    resumed = subprocess.run(
        [*command[:5], '--resume', *command[5:]],
        env=env,
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    log = resumed.stdout + resumed.stderr
    assert 'resumed epoch: 2' in log
    assert 'Epoch(train) [3][1/4]' in log and 'Epoch(train) [2][' not in log
    assert (tmp_path / 'epoch_4.pth').exists()
