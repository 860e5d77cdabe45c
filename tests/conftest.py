import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

import esvit_plugin  # noqa: F401  registers everything

GOLDEN = Path(__file__).resolve().parents[2] / 'shared' / 'golden'


@pytest.fixture(autouse=True)
def _fresh_globals():
    """Same random numbers in every test, and no logs shared between runners."""
    torch.manual_seed(0)
    yield
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()


@pytest.fixture(scope='session')
def golden():
    """The folder of reference values, beside the repository where it is present."""
    if not GOLDEN.is_dir():
        pytest.skip('no reference values beside the repository')
    sys.path.insert(0, str(GOLDEN))
    return GOLDEN
