"""What ``bash tests/gpu.sh`` runs; on a CPU all but what only a GPU can show."""

import os
from contextlib import nullcontext

import pytest
import torch

# 'cpu' for a rehearsal.
DEVICE = torch.device(os.environ.get('ESVIT_GPU_TESTS_DEVICE', 'cuda'))


def pytest_sessionstart(session):
    if DEVICE.type == 'cuda' and not torch.cuda.is_available():
        raise pytest.UsageError(
            'tests/gpu needs a GPU that torch can use. For a rehearsal on the CPU set '
            'ESVIT_GPU_TESTS_DEVICE=cpu.'
        )


@pytest.fixture
def device():
    return DEVICE


@pytest.fixture
def _gpu(device):
    """For what only a GPU can show."""
    if device.type != 'cuda':
        pytest.skip('only a GPU can show this')


@pytest.fixture(params=['float32', 'float16', 'bfloat16'])
def dtype(request):
    return getattr(torch, request.param)


@pytest.fixture
def autocast(device, dtype):
    """A function that gives the context to compute in."""

    def context():
        if dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, dtype=dtype)

    return context
