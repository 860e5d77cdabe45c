import signal
import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

import esvit_plugin  # noqa: F401  registers everything

# A program in the background may have been told to ignore them, and what it starts.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    if signal.getsignal(_number) is signal.SIG_IGN:
        is_interrupt = _number == signal.SIGINT
        signal.signal(
            _number, signal.default_int_handler if is_interrupt else signal.SIG_DFL
        )

# All reference values, beside the repository where they are present, or the small ones.
ALL_GOLDEN = Path(__file__).resolve().parents[2] / 'shared' / 'golden'
SMALL_GOLDEN = Path(__file__).resolve().parent / 'data' / 'golden'


@pytest.fixture(autouse=True)
def _fresh_globals():
    """Same random numbers in every test, and no logs shared between runners."""
    torch.manual_seed(0)
    yield
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()


@pytest.fixture(scope='session')
def golden():
    """The folder of reference values; without those of whole backbones in a clone."""
    folder = ALL_GOLDEN if ALL_GOLDEN.is_dir() else SMALL_GOLDEN
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture
def _whole_backbones(golden):
    """For tests that need outputs of whole backbones, which take 4 MB."""
    if golden == SMALL_GOLDEN:
        pytest.skip('the outputs of whole backbones are not in tests/data/golden')
