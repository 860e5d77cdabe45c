"""What the launcher says, without a process."""

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from esvit_plugin.engine import dist_run


def failure(rank, code, text=None, timestamp=5):
    found = ProcessFailure(rank, 1000 + rank, code, 'nowhere')
    found.timestamp = timestamp
    if text:
        found.message = dict(message=text, extraInfo={})
    return found


def test_one_message_for_one_mistake():
    both = {rank: failure(rank, 1, 'wrong') for rank in (0, 1)}
    assert dist_run.explain(both) is None
    # The first process was told to end before it could say so.
    late = {1: failure(1, 1, 'wrong'), 0: failure(0, -15)}
    assert dist_run.explain(late) == 'wrong\n(process 1 failed first)'
    crash = {0: failure(0, 1, 'connection closed'), 1: failure(1, -11)}
    assert dist_run.explain(crash) == 'process 1 was ended by SIGSEGV.'
    assert dist_run.explain({1: failure(1, 138)}) == 'process 1 was ended by SIGUSR1.'
    assert dist_run.explain({1: failure(1, 3)}) == 'process 1 ended with exit code 3.'
    later = {0: failure(0, 1, 'wrong', 4), 1: failure(1, -6, None, 9)}
    assert dist_run.explain(later) is None


def test_the_time_is_a_number(monkeypatch):
    monkeypatch.setenv('ESVIT_SHUTDOWN_SECONDS', 'soon')
    with pytest.raises(ValueError, match="number of seconds, got 'soon'"):
        dist_run.shutdown_seconds()


def test_only_what_was_told_to_end_is_not_started_again():
    for code in (143, 130, 129, 138, -15):
        assert dist_run.was_told([0, code]), code
    assert not dist_run.was_told([0, 1, 3, 137, -9, -11, 134])
