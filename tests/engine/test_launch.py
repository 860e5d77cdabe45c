import argparse
import os
from unittest import mock

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from esvit_plugin.engine import launch
from esvit_plugin.engine.options import add_config_options


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


def test_processes_of_torchrun_know_of_each_other(monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'a')
    monkeypatch.setenv('WORLD_SIZE', '1')
    launch.check_launcher('none')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ValueError, match='started 2 processes.*Add --launcher pytorch'):
        launch.check_launcher('none')


def test_variables_that_are_no_numbers(monkeypatch):
    for name in launch.LAUNCHERS['pytorch'][0]:
        monkeypatch.setenv(name, '1')
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_PORT'):
        monkeypatch.setenv(name, 'two')
        with pytest.raises(ValueError, match=f"variable {name} must be .*, got 'two'"):
            launch.prepare_launch(Config(), 'pytorch')
        monkeypatch.setenv(name, '1')
    monkeypatch.setenv('MASTER_ADDR', 'node')
    launch.check_launcher('pytorch')
    assert launch.read_number('RANK', 5) == 1
    for name, value in (('A', ''), ('A', ' '), ('B', None)):
        if value is not None:
            monkeypatch.setenv(name, value)
        assert launch.read_number(name, 5) == 5


def test_an_empty_number_of_slurms_job(monkeypatch):
    for name in launch.LAUNCHERS['slurm'][0]:
        monkeypatch.setenv(name, '1')
    monkeypatch.setenv('MASTER_PORT', '')
    monkeypatch.delenv('MASTER_PORT')
    monkeypatch.setenv('SLURM_JOB_ID', '')
    monkeypatch.setenv('SLURM_STEP_ID', '')
    launch.prepare_launch(Config(), 'slurm')
    assert os.environ['MASTER_PORT'] == '10000'


def test_processes_that_torchrun_did_not_start_share_the_cores(monkeypatch):
    for name in launch.LAUNCHERS['pytorch'][0]:
        monkeypatch.setenv(name, '2')
    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(launch, 'keep_freed_memory', lambda: None)
    monkeypatch.setattr(launch.dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(launch.torch, 'get_num_threads', lambda: 8)
    found = []
    monkeypatch.setattr(launch.torch, 'set_num_threads', found.append)
    launch.prepare_launch(Config(), 'pytorch')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '1')
    launch.prepare_launch(Config(), 'pytorch')
    assert found == [4, 8]


def test_jobs_of_slurm_have_ports_of_their_own(monkeypatch):
    for name in launch.LAUNCHERS['slurm'][0]:
        monkeypatch.setenv(name, '1')
    ports = set()
    for job, step in (('5500123', '0'), ('5500124', '0'), ('5500124', '1')):
        # Set, so that what the launch sets is forgotten afterwards.
        monkeypatch.setenv('MASTER_PORT', '')
        monkeypatch.delenv('MASTER_PORT')
        monkeypatch.setenv('SLURM_JOB_ID', job)
        monkeypatch.setenv('SLURM_STEP_ID', step)
        launch.prepare_launch(Config(), 'slurm')
        ports.add(int(os.environ['MASTER_PORT']))
    assert len(ports) == 3 and all(1024 < port < 32768 for port in ports)
    monkeypatch.setenv('MASTER_PORT', '4321')
    launch.prepare_launch(Config(), 'slurm')
    assert os.environ['MASTER_PORT'] == '4321'


def test_a_program_without_a_runner_joins_as_a_training_does(monkeypatch):
    joined = []
    for name in launch.LAUNCHERS['slurm'][0]:
        monkeypatch.setenv(name, '1')
    monkeypatch.setenv('MASTER_PORT', '4321')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setattr(launch, 'set_multi_processing', lambda **given: given)
    monkeypatch.setattr(
        launch, 'init_dist', lambda *args, **given: joined.append((args, given))
    )
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=9))))
    with launch.joined_processes(cfg, 'slurm'):
        assert joined == [(('slurm',), dict(backend='nccl', timeout=9))]
    with launch.joined_processes(Config(), 'none'):
        assert len(joined) == 1


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


def test_spaces_stay():
    words = ['a=My run', 'b=" My run "', 'd= 5 ']
    words += ["""c=[a b, 'c', (1, 2 ,"d e"),]"""]
    words += ['e=1, a b', 'f=( )', 'g=[[1, 2], [3,]]', 'h= None', 'i=']
    assert options(*words) == {
        'a': 'My run',
        'b': 'My run',
        'c': ['a b', 'c', (1, 2, 'd e')],
        'd': 5,
        'e': [1, 'a b'],
        'f': (),
        'g': [[1, 2], [3]],
        'h': None,
        'i': '',
    }


PATHS = [
    'data_root',
    'load_from',
    'work_dir',
    'model.backbone.init_cfg.checkpoint',
    'train_dataloader.dataset.label_map',
    'train_dataloader.dataset.data_prefix',
    'train_dataloader.dataset.data_prefix.img_path',
    'train_dataloader.dataset.zip_file.0',
    'default_hooks.checkpoint.out_dir',
]


@pytest.mark.parametrize('name', PATHS)
def test_paths_are_what_they_are(name):
    for path in ('/a/My Photos, 2 (new)', '2024', 'x=1', '1,2', '[a] b', '/a,{b}', ''):
        assert options(f'{name}={path}') == {name: path}
        assert options(f'{name}="{path}"') == {name: path}
    assert options(f'{name}=None') == {name: None}
    # Some data sets take several.
    assert options(f'{name}=[/a b/c.zip, d]') == {name: ['/a b/c.zip', 'd']}
    with pytest.raises(ValueError, match='a dict is given by its parts'):
        options(f'{name}=dict(a=1)')
    # As in mmengine, but with the spaces in names
    several = 'train_dataloader.dataset.ann_file'
    assert options(f'{several}=/a b/c.txt, 2024') == {several: ['/a b/c.txt', '2024']}
    assert options(f'{several}="/a, b.txt"') == {several: '/a, b.txt'}
    assert options(f'{several}=/a b.txt') == {several: '/a b.txt'}
    # Settings of what is named alike
    assert options('default_hooks.checkpoint.interval=2') == {
        'default_hooks.checkpoint.interval': 2
    }


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('lr', "KEY=VALUE, got 'lr'"),
        ('=3', "KEY=VALUE, got '=3'"),
        ('a..b=3', "KEY=VALUE, got 'a..b=3'"),
        ('a=[1,2', r'a=\[1,2: the value cannot be read'),
        ('a.b=dict(c=1)', r'a.b=dict\(c=1\): a dict is given by its parts, a.b.KEY=V'),
        ('a=dict(c=1, d=2)', 'a dict is given by its parts, a.KEY=VALUE'),
        ('a=dict()', 'a dict is given by its parts'),
        ('a="dict(c=1)"', 'a dict is given by its parts'),
        ('a={}', 'a dict is given by its parts'),
        ("a={'c': {'d': 1}}", 'a dict is given by its parts'),
        ("a=[dict(type='Flip')]", 'a dict is given by its parts'),
        ("a=1,{'c': 1},2", 'a dict is given by its parts'),
    ],
)
def test_options_that_cannot_be_read(word, message):
    with pytest.raises(ValueError, match=message):
        options('b=1', word)


def test_names_with_braces_are_no_dicts():
    names = ('epoch_{}.pth', '{:03d}.pth', 'predict(1)', 'a_dict.pth', '[a{1}.x,b]')
    for name in names:
        options(f'a={name}')


def test_the_runner_is_that_of_the_config():
    with (
        mock.patch.object(RUNNERS, 'build') as build,
        mock.patch.object(Runner, 'from_cfg') as plain,
    ):
        launch.build_runner(Config(dict(runner_type='EsViTRunner')))
        assert build.call_count == 1 and not plain.called
        launch.build_runner(Config())
        assert plain.called
