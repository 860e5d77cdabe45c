import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys
import torch
from esvit_plugin.engine.launch import keep_freed_memory

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
        [sys.executable, '-W', 'ignore', '-c', PROGRAM, *args],
        capture_output=True,
        text=True,
        check=True,
    )
    pages = int(run.stdout.split()[-1])
    # Without it, all is asked for again: 32768 pages, or 64 huge ones.
    assert (pages < 32) == keep, pages
