"""A full disk: what was whole stays whole, and the run can go on."""

import contextlib
import os
import shutil
import subprocess

import pytest
from support.faults.entries import TOOLS, start
from support.faults.runs import (
    assert_same,
    checkpoints,
    ended,
    hooks,
    load,
    run_cases,
    start_train,
    train,
    unfinished,
    write_config,
)

RECOVERY = dict(default_hooks=dict(recovery=dict(interval=2)))


def check_stopped(run, folder):
    ended(run, 1)
    assert len(run.message.splitlines()) <= 3, run.message
    assert '.pth' in run.message and 'make room' in run.message
    assert not unfinished(folder), unfinished(folder)
    for name in checkpoints(folder):
        load(folder / 'run' / name)


def check_resumed(folder, config, whole):
    ended(train(folder, '--resume', config=config))
    assert_same(folder / 'run' / 'epoch_3.pth', whole)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    train(folder)
    return folder / 'run' / 'epoch_3.pth'


def test_a_checkpoint_that_does_not_fit(tmp_path, whole):
    config = write_config(tmp_path / 'c.py', **RECOVERY)

    def case(share):
        folder = tmp_path / str(share)
        size = int(whole.stat().st_size * share)
        hook = dict(type='LimitFiles', iteration=6, size=size)
        small = write_config(folder / 'k.py', **RECOVERY, custom_hooks=hooks(hook))
        run = start_train(folder, config=small)
        yield run
        assert checkpoints(folder) == ['epoch_1.pth', 'recovery.pth']
        check_stopped(run, folder)
        check_resumed(folder, config, whole)

    # Not smaller: the log would be what does not fit.
    run_cases({f'room for {share}': case(share) for share in (0.2, 0.5, 0.95)})


@pytest.fixture
def full_disk(tmp_path, whole):
    """A disk of a few hundred KiB; with no right to make one the others are all."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    size = 2.5 * whole.stat().st_size
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size:.0f}', 'none', disk]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip('no right to mount a disk')
    yield disk
    subprocess.run(['umount', '-l', disk], check=True)


def fill(disk):
    """Leave no room on a disk."""
    with contextlib.suppress(OSError), open(disk / 'filling', 'wb', 0) as file:
        while True:
            file.write(bytes(512))


def test_a_disk_that_is_full(full_disk, tmp_path, whole):
    config = write_config(tmp_path / 'c.py', **RECOVERY)
    run = train(full_disk / 'a', config=config, code=1)
    check_stopped(run, full_disk / 'a')
    assert 'No space left' in run.message
    assert checkpoints(full_disk / 'a')
    shutil.copytree(full_disk / 'a', tmp_path / 'roomy')
    check_resumed(tmp_path / 'roomy', config, whole)


@pytest.mark.parametrize('name', [n for n, tool in TOOLS.items() if tool.out])
def test_results_of_tools_are_whole_or_old(full_disk, tmp_path, trained, name):
    """The older file stays when the new one does not fit."""
    out = full_disk / f'out{TOOLS[name].out}'
    old = {} if out.suffix == '.json' else {out.name: b'older result'}
    for path, content in old.items():
        (full_disk / path).write_bytes(content)
    fill(full_disk)
    run = start(name, trained['esvit'], tmp_path, out=out).wait()
    ended(run, 1)
    assert len(run.message.splitlines()) <= 3, run.message
    assert out.name in run.message and 'No space left' in run.message
    (full_disk / 'filling').unlink()
    assert {path.name: path.read_bytes() for path in full_disk.iterdir()} == old
