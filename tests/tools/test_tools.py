"""The command-line tools, as a user calls them."""

import os
import re
import runpy
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from esvit_plugin import get_model
from esvit_plugin.engine.configs import drop_late_schedules, load_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs' / 'demo'
# The demo in seconds: few crops, narrow heads.
QUICK = [
    'train_cfg.max_epochs=1',
    'train_dataloader.dataset.num_train=2',
    'train_dataloader.batch_size=8',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
]
NARROW = [
    'model.neck.hidden_channels=64',
    'model.region_neck.hidden_channels=64',
]


def call(*command, expect=0, **env):
    run = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, 'PYTHONPATH': str(ROOT), **env},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    output = run.stdout + run.stderr
    assert run.returncode == expect, output[-4000:]
    return output


def tool(name, *args, **kwargs):
    return call(sys.executable, ROOT / 'tools' / name, *args, **kwargs)


def last_line(output):
    """The message that ended a program, without a traceback."""
    assert 'Traceback' not in output
    lines = output.splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith('error: '))
    assert len(lines[start:]) <= 3, output[-4000:]
    return '\n'.join(lines[start:])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A teacher after one short epoch, trained by two processes."""
    folder = tmp_path_factory.mktemp('train')
    output = call(
        'bash',
        ROOT / 'tools' / 'dist_train.sh',
        DEMO / 'esvit_swin_photos.py',
        2,
        '--work-dir',
        folder,
        '--cfg-options',
        *QUICK,
        *NARROW,
        PORT='29617',
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    )
    assert 'k-NN, k=20: top-1' in output
    # 32 crops, 2 processes of 8 each
    assert 'Epoch(train) [1][2/2]' in output
    return folder / 'epoch_1.pth'


def test_knn_of_teacher_and_student(trained):
    args = (DEMO / 'esvit_swin_photos.py', trained, '--k', 10, 20)
    teacher = tool('knn.py', *args, '--cfg-options', *NARROW)
    student = tool('knn.py', *args, '--student', '--cfg-options', *NARROW)
    rows = [
        [r for r in out.splitlines() if r.startswith('k=')]
        for out in (teacher, student)
    ]
    assert [row.split()[0] for row in rows[0]] == ['k=10', 'k=20']
    assert rows[0] != rows[1]
    assert 'features of the teacher' in teacher
    assert 'features of the student' in student


def knn_arguments(**given):
    """The command line of tools/knn.py."""
    args = dict(config='c.py', checkpoint=None, k=None, temperature=None)
    return Namespace(**{**args, **given})


def test_knn_settings_come_from_the_command_line_then_the_config():
    merge_args = runpy.run_path(str(ROOT / 'tools' / 'knn.py'))['merge_args']
    cfg = Config(dict(load_from='a.pth', knn=dict(k=(5,), temperature=0.1)))
    args = knn_arguments()
    merge_args(cfg, args)
    assert args == knn_arguments(checkpoint='a.pth', k=(5,), temperature=0.1)
    given = dict(checkpoint='b.pth', k=[7], temperature=0.2)
    args = knn_arguments(**given)
    merge_args(cfg, args)
    assert args == knn_arguments(**given)
    args = knn_arguments(checkpoint='b.pth')
    merge_args(Config(dict(load_from=None)), args)
    assert (args.k, args.temperature) == ((10, 20, 100, 200), 0.07)
    with pytest.raises(ValueError, match=r'c\.py has no load_from: give the checkp'):
        merge_args(Config(dict(load_from=None)), knn_arguments())
    args = knn_arguments(checkpoint='b.pth')
    merge_args(Config(dict(load_from=None, knn=dict(k=5))), args)
    assert args.k == [5]
    for wrong in (dict(k=[0]), dict(temperature=0.0), dict(temperature=-1.0)):
        with pytest.raises(ValueError, match=r'^(k|temperature) must be'):
            merge_args(cfg, knn_arguments(**wrong))
    with pytest.raises(ValueError, match=r"k and temperature, not \['ks'\]"):
        merge_args(Config(dict(load_from='a.pth', knn=dict(ks=5))), knn_arguments())


def test_knn_takes_images_from_the_hook_or_variables():
    find = runpy.run_path(str(ROOT / 'tools' / 'knn.py'))['find_loaders']
    train, val = dict(batch_size=4), dict(batch_size=2)
    hook = dict(type='KNNMonitorHook', train_dataloader=train, val_dataloader=val)
    variables = dict(knn_dataloader=train, knn_val_dataloader=val)
    for cfg in (dict(custom_hooks=[hook]), variables):
        assert find(Config(cfg), 'c.py') == (train, val)
    with pytest.raises(ValueError, match=r'c\.py has no KNNMonitorHook'):
        find(Config(dict(custom_hooks=[])), 'c.py')


@pytest.mark.parametrize('kind', ['map', 'tokens', 'class token'])
def test_knn_takes_the_features_of_other_methods(kind):
    backbone = dict(
        type='VisionTransformer',
        arch=dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64),
        img_size=32,
        out_type=dict(map='featmap', tokens='raw').get(kind, 'cls_token'),
    )
    model = get_model(dict(type='ImageClassifier', backbone=backbone))
    images = torch.randn(2, 3, 32, 32)
    extract = runpy.run_path(str(ROOT / 'tools' / 'knn.py'))['extract_view']
    last = model.backbone(images)[-1]
    view = dict(map=lambda: last.mean((2, 3)), tokens=lambda: last[:, 0]).get(
        kind, lambda: last
    )()
    torch.testing.assert_close(extract(model, images, 'teacher'), view)


def test_linear_probe_of_the_frozen_teacher_by_prefix(trained, tmp_path):
    config = DEMO / 'linear_swin_photos.py'
    options = [
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=2',
        'train_dataloader.dataset.num_train=8',
        'train_dataloader.batch_size=16',
        f'model.backbone.init_cfg.checkpoint={trained}',
    ]
    args = ('--work-dir', tmp_path, '--cfg-options', *options)
    output = tool('train.py', config, *args)
    assert 'accuracy/top1:' in output
    probe = torch.load(tmp_path / 'epoch_2.pth')['state_dict']
    teacher = torch.load(trained)['state_dict']
    names = [name for name in probe if name.startswith('backbone.')]
    for name in names:  # frozen: still the teacher's
        assert torch.equal(probe[name], teacher[f'teacher.{name}']), name
    assert any(not torch.equal(teacher[n], teacher[f'teacher.{n}']) for n in names)
    assert probe['head.fc.weight'].std() > 0
    metrics = tmp_path / 'metrics.json'
    tool(
        'test.py',
        config,
        tmp_path / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        '--out',
        metrics,
        '--cfg-options',
        *options,
    )
    assert 'accuracy/top1' in metrics.read_text()


def test_own_folder_by_one_option(tmp_path):
    images = tmp_path / 'images' / 'deeper'
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(2):
        image = rng.integers(256, size=(60, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f'{index}.jpg'), image)
    (images / 'broken.jpg').write_bytes(b'no image')
    output = tool(
        'train.py',
        DEMO / 'esvit_swin_folder.py',
        '--work-dir',
        tmp_path / 'run',
        '--auto-scale-lr',
        '--cfg-options',
        f'data_root={tmp_path / "images"}',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'default_hooks.logger.interval=1',
        *(
            f'model.{part}.out_channels=64'
            for part in ('neck', 'head', 'region_neck', 'region_head')
        ),
    )
    assert 'broken.jpg' in output and 'Skipped' in output
    assert 'Scaling the original LR by 0.0625' in output
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'error: UnlabeledFolder has no data_root'),
        (['data_root=nowhere'], 'data folder nowhere of .* does not exist: pass --cfg'),
        (['model.neck.in_channels=64'], 'Set model.neck.in_channels=768'),
        (['data_root=EMPTY'], 'data folder .*empty of .* is empty: pass --cfg-opt'),
        (['data_root=TEXT'], 'found no image in .*pass --cfg-options data_root='),
    ],
)
def test_bad_configs_are_refused_before_training(options, message, tmp_path):
    for name in ('empty', 'text'):
        (tmp_path / name).mkdir()
        options = [o.replace(name.upper(), str(tmp_path / name)) for o in options]
    (tmp_path / 'text' / 'readme.txt').write_text('no image')
    extra = ['--cfg-options', *options] if options else []
    output = tool(
        'train.py',
        DEMO / 'esvit_swin_folder.py',
        '--work-dir',
        tmp_path / 'run',
        *extra,
        expect=1,
    )
    assert re.search(message, last_line(output)), last_line(output)
    assert not list(tmp_path.glob('run/*.pth'))


def test_only_whole_classifiers_are_tested():
    check = runpy.run_path(str(ROOT / 'tools' / 'test.py'))['check_weights']
    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Linear(2, 2)))
    model['head'] = torch.nn.ModuleDict(dict(fc=torch.nn.Linear(2, 2)))
    weights = dict(model.state_dict())
    check(model, weights, 'a.pth')
    check(model, {f'module.{name}': value for name, value in weights.items()}, 'a.pth')
    del weights['head.fc.weight'], weights['head.fc.bias']
    with pytest.raises(
        ValueError, match=r'a\.pth lacks 2 .* head\.fc\.weight, head\.fc'
    ):
        check(model, weights, 'a.pth')
    weights['teacher.backbone.weight'] = weights['backbone.weight']
    with pytest.raises(
        ValueError, match=r'pre-training: .* tools/knn\.py, or train a l'
    ):
        check(model, weights, 'a.pth')


def test_wrong_files_are_refused(trained, tmp_path):
    demo = DEMO / 'esvit_swin_photos.py'
    output = tool('train.py', 'configs/nothing.py', expect=1)
    assert 'There is no config file configs/nothing.py' in last_line(output)
    output = tool('knn.py', demo, tmp_path / 'nothing.pth', expect=1)
    assert 'There is no checkpoint' in last_line(output)
    output = tool('test.py', demo, trained, expect=1)
    assert 'has no test_dataloader' in last_line(output)
    linear = DEMO / 'linear_swin_photos.py'
    output = tool('test.py', linear, trained, '--work-dir', tmp_path, expect=1)
    assert re.search(r'lacks 2 .*head\.fc\.weight', last_line(output)), output
    # The checkpoint has narrow heads, the config as it is has not.
    output = tool(
        'train.py', demo, '--work-dir', tmp_path, '--resume', trained, expect=1
    )
    assert 'The checkpoint has neck.mlp.0.weight of shape (64, 256)' in last_line(
        output
    )


def test_amp_on_a_cpu_is_refused(tmp_path):
    output = tool(
        'train.py',
        DEMO / 'esvit_swin_photos.py',
        '--work-dir',
        tmp_path,
        '--amp',
        expect=1,
        CUDA_VISIBLE_DEVICES='',
    )
    assert 'leave out --amp' in last_line(output)


def test_a_run_shorter_than_its_warm_up_keeps_the_warm_up():
    cfg = load_config(
        str(ROOT / 'configs/esvit_swin_t.py'), {'train_cfg.max_epochs': 10}
    )
    drop_late_schedules(cfg)
    names = [schedule.type for schedule in cfg.param_scheduler]
    assert names == ['LinearLR', 'CosineAnnealingParamScheduler']


def test_data_root_replaces_the_folder_everywhere():
    cfg = load_config(
        str(ROOT / 'configs/esvit_swin_t.py'), dict(data_root='/data/in1k')
    )
    hook = next(h for h in cfg.custom_hooks if h.type == 'KNNMonitorHook')
    folders = [
        cfg.train_dataloader.dataset.data_root,
        hook.train_dataloader.dataset.data_root,
        hook.val_dataloader.dataset.data_root,
        cfg.data_root,
    ]
    assert folders == ['/data/in1k'] * 4


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_shell_tools_say_how_to_call_them(name):
    assert 'usage: ' in call('bash', ROOT / 'tools' / name, expect=2)


@pytest.mark.parametrize(
    ('name', 'args', 'message'),
    [
        ('dist_train.sh', ('none.py', '2'), 'error: there is no config none.py'),
        (
            'dist_train.sh',
            (__file__, '0'),
            "GPUS must be a whole number above 0, got '0'",
        ),
        ('dist_train.sh', (__file__, 'abc'), "got 'abc'"),
        (
            'dist_test.sh',
            (__file__, 'none.pth', '2'),
            'there is no checkpoint none.pth',
        ),
        ('dist_test.sh', (__file__, __file__, '-1'), "got '-1'"),
        (
            'slurm_train.sh',
            ('part', 'job', 'none.py', 'out'),
            'there is no config none',
        ),
    ],
)
def test_shell_tools_check_their_arguments(name, args, message):
    output = call('bash', ROOT / 'tools' / name, *args, expect=2)
    assert message in output and len(output.splitlines()) == 1


def test_slurm_asks_for_no_more_gpus_than_it_uses(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    output = call(
        'bash',
        ROOT / 'tools' / 'slurm_train.sh',
        'part',
        'job',
        DEMO / 'esvit_swin_photos.py',
        'out dir',
        '--amp',
        GPUS='4',
        SRUN_ARGS='--exclusive --mem=9G',
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
    )
    words = output.splitlines()
    for word in ('--gres=gpu:4', '--ntasks=4', '--exclusive', '--mem=9G', 'out dir'):
        assert word in words
    assert words[-3:] == ['--launcher', 'slurm', '--amp']
