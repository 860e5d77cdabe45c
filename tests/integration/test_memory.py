"""The memory that a process needs, each in a Python of its own."""

import subprocess
import sys

import pytest
from support.paths import ROOT

KNN = """
import torch
from esvit_plugin.evaluation import weighted_knn

torch.manual_seed(0)
train, test = torch.randn(200_000, 768), torch.randn(500, 768)
# Each test image is a training image with some noise.
test += 3 * train[:500]
labels = torch.arange(200_000) % 1000
print(weighted_knn(train, labels, test, labels[:500], ks=(1, 200))[1][0])
with open('/proc/self/status') as file:
    print(next(line for line in file if line.startswith('VmHWM')).split()[1])
"""


def test_memory_is_bounded():
    """200,000 x 768 features in a process of less than 4 GiB, all included."""
    run = subprocess.run(
        [sys.executable, '-c', KNN],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    accuracy, kibibytes = run.stdout.split()[-2:]
    assert float(accuracy) == 100.0
    assert int(kibibytes) < 4 * 2**20


KEPT = """
import resource
import sys
import torch
from esvit_plugin.engine.memory import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**25)  # 128 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if 'keep' in sys.argv:
    assert keep_freed_memory()
# The first ones may meet holes that are a little too small.
print(min(new_pages() for _ in range(20)))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='a setting of glibc')
@pytest.mark.parametrize('keep', [True, False])
def test_kept_memory_is_used_again(keep):
    args = ['keep'] if keep else []
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', KEPT, *args],
        capture_output=True,
        text=True,
        check=True,
    )
    pages = int(run.stdout.split()[-1])
    # Without it, all is asked for again: 32768 pages, or 64 huge ones.
    assert (pages < 32) == keep, pages
