"""kill -9 at any moment: nothing is lost that was saved."""

import random
import signal
import time

import pytest
from support.faults.runs import (
    assert_same,
    checkpoints,
    ended,
    hooks,
    run_cases,
    start_train,
    train,
    unfinished,
    write_config,
)

SETTINGS = dict(
    default_hooks=dict(
        checkpoint=dict(max_keep_ckpts=1, interval=1), recovery=dict(interval=2)
    )
)
KILLS = 12


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """An uninterrupted run with a line for each change of its files, and its time."""
    folder = tmp_path_factory.mktemp('whole')
    hook = dict(type='KillAtFileEvent', number=-1)
    config = write_config(folder / 'c.py', **SETTINGS, custom_hooks=hooks(hook))
    start = time.monotonic()
    run = train(folder, config=config)
    seconds = time.monotonic() - start
    assert 'epoch_3.pth' in checkpoints(folder)
    events = [line for line in run.out.splitlines() if line.startswith('file event')]
    return folder / 'run' / 'epoch_3.pth', seconds, events


def resume(folder, whole):
    """Go on after a kill, and compare with the uninterrupted run."""
    found = checkpoints(folder)
    run = start_train(
        folder, '--resume', config=write_config(folder / 'c.py', **SETTINGS)
    )
    yield run
    ended(run)
    assert_same(folder / 'run' / 'epoch_3.pth', whole)
    # One is kept, beside the one inside epochs
    assert set(checkpoints(folder)) - {'recovery.pth'} == {'epoch_3.pth'}
    assert not unfinished(folder)
    assert bool(found) == ('resumed epoch' in run.text), found
    if found:
        assert 'Epoch(train) [1][1/4]' not in run.text


def test_kills_at_random_times(tmp_path, whole):
    path, seconds, _ = whole
    rng = random.Random(11)
    config = write_config(tmp_path / 'c.py', **SETTINGS)

    def case(folder):
        run = start_train(folder, config=config)
        # Loading takes a part of the time that training takes.
        yield run, time.monotonic() + rng.uniform(0.3, 1.0) * seconds
        if (folder / 'run').exists():
            yield from resume(folder, path)

    run_cases({f'kill {n}': case(tmp_path / str(n)) for n in range(KILLS)})


def test_kills_at_each_change_of_the_files(tmp_path, whole):
    path, _, events = whole
    assert any('os.remove epoch' in line for line in events), events
    # A recovery and an epoch's checkpoint, when older ones are there
    ends = [i for i, line in enumerate(events) if 'os.rename .epoch_' in line]

    def case(number):
        folder = tmp_path / str(number)
        hook = dict(type='KillAtFileEvent', number=number)
        config = write_config(folder / 'k.py', **SETTINGS, custom_hooks=hooks(hook))
        run = start_train(folder, config=config)
        yield run
        assert run.code == 137, run.text[-2000:]
        assert checkpoints(folder), 'no checkpoint is left'
        yield from resume(folder, path)

    numbers = range(ends[0] + 1, ends[1] + 5)
    run_cases({events[number]: case(number) for number in numbers})


def test_kills_in_the_middle_of_a_write(tmp_path, whole):
    """The system ends the process when a file grows beyond a size."""
    path = whole[0]

    def case(share):
        folder = tmp_path / str(share)
        size = int(path.stat().st_size * share)
        hook = dict(type='LimitFiles', iteration=7, size=size, kill=True)
        config = write_config(folder / 'k.py', **SETTINGS, custom_hooks=hooks(hook))
        run = start_train(folder, config=config)
        yield run
        assert run.code == 128 + signal.SIGXFSZ, run.text[-2000:]
        assert checkpoints(folder), 'no checkpoint is left'
        yield from resume(folder, path)

    run_cases({f'at {share}': case(share) for share in (0.0, 0.3, 0.99)})
