"""The checks of ``tests/gpu.sh``, rehearsed on the CPU; and without a GPU."""

import re
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.tools import call


def test_without_a_gpu_one_line_says_so():
    printed = call('bash', ROOT / 'tests' / 'gpu.sh', CUDA_VISIBLE_DEVICES='')
    assert printed.startswith('tests/gpu.sh: no GPU is in reach')
    assert printed.count('\n') == 1


@pytest.mark.slow
def test_they_pass_on_a_cpu(tmp_path):
    """But for what only a GPU can show."""
    printed = call(
        'bash',
        ROOT / 'tests' / 'gpu.sh',
        *('--out', tmp_path, '-q', '-k', 'float32-swin_w7-96 or multi_crop or losses'),
        ESVIT_GPU_TESTS_DEVICE='cpu',
        PYTHON=sys.executable,
    )
    assert re.search(r'\d+ passed', printed)
    assert 'failed' not in printed
    assert (tmp_path / 'gpu.log').read_text() in printed


@pytest.mark.slow
def test_they_need_a_gpu_otherwise():
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', 'tests/gpu', '-q'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 4 and 'needs a GPU that torch can use' in run.stderr
