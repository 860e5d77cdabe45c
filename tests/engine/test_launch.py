import argparse
import subprocess
import sys
from unittest import mock

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from esvit_plugin.engine import launch
from esvit_plugin.engine.options import add_config_options

PROGRAM = """
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
        [sys.executable, '-W', 'ignore', '-c', PROGRAM, *args],
        capture_output=True,
        text=True,
        check=True,
    )
    pages = int(run.stdout.split()[-1])
    # Without it, all is asked for again: 32768 pages, or 64 huge ones.
    assert (pages < 32) == keep, pages


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', 'RANK, .* not set.*dist_train.sh'),
        ('slurm', 'SLURM_PROCID, SLURM_NTASKS, .*slurm_train.sh or srun'),
        ('mpi', 'OMPI_COMM_WORLD_LOCAL_RANK, .*mpirun'),
    ],
)
def test_launchers_that_did_not_start_this(monkeypatch, launcher, message):
    for name in launch.LAUNCHERS[launcher][0]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=message):
        launch.prepare_launch(Config(), launcher)
    for name in launch.LAUNCHERS[launcher][0]:
        monkeypatch.setenv(name, '1')
    launch.check_launcher(launcher)


def options(*words):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def test_options_are_read():
    assert options('a.b=1', 'c=[1,2]', 'd=x=y', 'e=None') == {
        'a.b': 1,
        'c': [1, 2],
        'd': 'x=y',
        'e': None,
    }


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('lr', "KEY=VALUE, got 'lr'"),
        ('=3', "KEY=VALUE, got '=3'"),
        ('a..b=3', "KEY=VALUE, got 'a..b=3'"),
        ('a=[1,2', r'a=\[1,2: the value cannot be read'),
    ],
)
def test_options_that_cannot_be_read(word, message):
    with pytest.raises(ValueError, match=message):
        options('b=1', word)


def test_the_runner_is_that_of_the_config():
    with (
        mock.patch.object(RUNNERS, 'build') as build,
        mock.patch.object(Runner, 'from_cfg') as plain,
    ):
        launch.build_runner(Config(dict(runner_type='EsViTRunner')))
        assert build.call_count == 1 and not plain.called
        launch.build_runner(Config())
        assert plain.called
