import gc
import os
import random
import signal
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import config as mmengine_config
from mmengine.runner import loops as mmengine_loops
from support.training import fresh_globals

import esvit_plugin  # noqa: F401  registers everything
from esvit_plugin.datasets import bundled_photos

# A program in the background may have been told to ignore them, and what it starts.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
for _number in _SIGNALS:
    if signal.getsignal(_number) is signal.SIG_IGN:
        is_interrupt = _number == signal.SIGINT
        signal.signal(
            _number, signal.default_int_handler if is_interrupt else signal.SIG_DFL
        )
_HANDLERS = {number: signal.getsignal(number) for number in _SIGNALS}

# More threads are slower for small networks; of this process, and of those it starts.
torch.set_num_threads(1)
os.environ['OMP_NUM_THREADS'] = '1'

# All reference values, beside the repository where they are present, or the small ones.
ALL_GOLDEN = Path(__file__).resolve().parents[2] / 'shared' / 'golden'
SMALL_GOLDEN = Path(__file__).resolve().parent / 'data' / 'golden'


@pytest.fixture(autouse=True)
def _fresh_globals():
    """Same random numbers and signals in every test, no logs shared between runners."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    # What a test leaves ignored would be ignored by the programs of all later ones.
    for number, handler in _HANDLERS.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    fresh_globals()


@pytest.fixture(scope='session', autouse=True)
def _no_time_lost():
    """Leave out what takes time in every run and is not looked at."""
    # The garbage collector would go through all that was imported, for each data set.
    gc.collect()
    gc.freeze()
    # The beauty of the config in the log.
    mmengine_config.FormatCode = lambda text, **_: (text, True)
    # A pause after each epoch of a loop by iterations, for workers.
    mmengine_loops.time = SimpleNamespace(sleep=lambda _: None)


@pytest.fixture(scope='module')
def photos_once():
    """Photographs are read once for all data sets of a file's tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled_photos, 'load_photo', cache(bundled_photos.load_photo))
        yield


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
