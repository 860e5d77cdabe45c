"""The demo by the command-line tools, as a user calls them."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from support.paths import ROOT
from support.ports import free_port
from support.small_configs import SMALL, WIDTH
from support.tools import call, last_line, run, tool

from esvit_plugin.apis import find_config, find_model_config
from esvit_plugin.evaluation.dumped_config import differences, read_dump

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
# For k-NN
FEW = ['custom_hooks.5.train_dataloader.dataset.num_train=16']
NARROW = [
    'model.neck.hidden_channels=64',
    'model.region_neck.hidden_channels=64',
]


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
        *FEW,
        *NARROW,
        PORT=str(free_port()),
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    )
    assert 'k-NN, k=20: top-1' in output
    # 32 crops, 2 processes of 8 each
    assert 'Epoch(train) [1][2/2]' in output
    return folder / 'epoch_1.pth'


def test_knn_of_teacher_and_student(trained):
    args = (DEMO / 'esvit_swin_photos.py', trained, '--k', 10, 20)
    options = ('--cfg-options', *FEW, *NARROW)
    # What the training has left is the config with these options.
    narrow = {name: int(value) for name, value in (o.split('=') for o in NARROW)}
    dump = read_dump(str(trained.parent / 'esvit_swin_photos.py'))
    given = find_config(str(args[0]), narrow)
    assert differences(find_model_config(dump), find_model_config(given)) == []
    said = r'(?s)The model of .*\.hidden_channels is 64 there, .*give that config'
    with pytest.raises(ValueError, match=said):
        run('knn.py', *args, '--cfg-options', *FEW)
    teacher = run('knn.py', *args, *options)
    student = run('knn.py', *args, '--student', *options)
    rows = [
        [r for r in out.splitlines() if r.startswith('k=')]
        for out in (teacher, student)
    ]
    assert [row.split()[0] for row in rows[0]] == ['k=10', 'k=20']
    assert rows[0] != rows[1]
    assert 'features of the teacher' in teacher
    assert 'features of the student' in student


def test_linear_probe_of_the_frozen_teacher_by_prefix(trained, tmp_path):
    config = DEMO / 'linear_swin_photos.py'
    options = [
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=2',
        'train_dataloader.dataset.num_train=8',
        'train_dataloader.batch_size=16',
        'val_dataloader.dataset.num_test=4',
        'test_dataloader.dataset.num_test=4',
        f'model.backbone.init_cfg.checkpoint={trained}',
    ]
    args = ('--work-dir', tmp_path, '--cfg-options', *options)
    output = run('train.py', config, *args)
    assert 'accuracy/top1:' in output
    probe = torch.load(tmp_path / 'epoch_2.pth')['state_dict']
    teacher = torch.load(trained)['state_dict']
    names = [name for name in probe if name.startswith('backbone.')]
    for name in names:  # frozen: still the teacher's
        assert torch.equal(probe[name], teacher[f'teacher.{name}']), name
    assert any(not torch.equal(teacher[n], teacher[f'teacher.{n}']) for n in names)
    assert probe['head.fc.weight'].std() > 0
    metrics = tmp_path / 'metrics.json'
    run(
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
    # The config of the training stays beside the checkpoint.
    names = {path.name for path in tmp_path.glob('*.py')}
    assert names == {'linear_swin_photos.py', 'test_linear_swin_photos.py'}


def test_own_folder_by_one_option(tmp_path):
    images = tmp_path / 'images' / 'deeper'
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(2):
        image = rng.integers(256, size=(60, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f'{index}.jpg'), image)
    (images / 'broken.jpg').write_bytes(b'no image')
    # Of other sizes, which take seconds less
    neck, head = dict(in_channels=WIDTH, out_channels=64), dict(out_channels=64)
    model = dict(
        backbone=SMALL['EsViTSwin'],
        neck=neck,
        head=head,
        region_neck=neck,
        region_head=head,
    )
    config = tmp_path / 'small.py'
    config.write_text(
        f'_base_ = {str(DEMO / "esvit_swin_folder.py")!r}\nmodel = {model}\n'
    )
    output = run(
        'train.py',
        config,
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
    )
    assert 'broken.jpg' in output and 'Skipped' in output
    assert 'Scaling the original LR by 0.0625' in output
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], '^UnlabeledFolder has no data_root'),
        (['data_root=nowhere'], 'data folder nowhere of .* does not exist: pass --cfg'),
        (
            ['data_root=GOOD', 'model.neck.in_channels=64'],
            'Set model.neck.in_channels=768',
        ),
        (['data_root=EMPTY'], 'data folder .*empty of .* is empty: pass --cfg-opt'),
        (['data_root=TEXT'], 'found no image in .*pass --cfg-options data_root='),
    ],
)
def test_bad_configs_are_refused_before_training(options, message, tmp_path):
    for name in ('empty', 'text', 'good'):
        (tmp_path / name).mkdir()
        options = [o.replace(name.upper(), str(tmp_path / name)) for o in options]
    Image.new('RGB', (300, 300)).save(tmp_path / 'good' / 'image.png')
    (tmp_path / 'text' / 'readme.txt').write_text('no image')
    extra = ['--cfg-options', *options] if options else []
    args = (DEMO / 'esvit_swin_folder.py', '--work-dir', tmp_path / 'run', *extra)
    with pytest.raises(Exception, match=message):
        run('train.py', *args)
    assert not list(tmp_path.glob('run/*.pth'))


def test_wrong_files_are_refused(trained, tmp_path):
    demo = DEMO / 'esvit_swin_photos.py'
    linear = DEMO / 'linear_swin_photos.py'
    work_dir = ('--work-dir', tmp_path)
    for message, *args in (
        ('no config file configs/nothing.py', 'train.py', 'configs/nothing.py'),
        ('There is no checkpoint', 'knn.py', demo, tmp_path / 'nothing.pth'),
        ('has no test_dataloader', 'test.py', demo, trained),
        (r'lacks 2 .*head\.fc\.weight', 'test.py', linear, trained, *work_dir),
        # The checkpoint has narrow heads, the config as it is has not.
        (
            r'The checkpoint has neck\.mlp\.0\.weight of shape \(64, 256\)',
            *('train.py', demo, *work_dir, '--resume', trained),
        ),
    ):
        with pytest.raises(Exception, match=message):
            run(*args)


def test_float16_on_a_cpu_is_refused(tmp_path):
    output = tool(
        'train.py',
        DEMO / 'esvit_swin_photos.py',
        '--work-dir',
        tmp_path,
        '--amp',
        '--cfg-options',
        'optim_wrapper.dtype=float16',
        expect=1,
        CUDA_VISIBLE_DEVICES='',
    )
    assert 'leave out --amp' in last_line(output)


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
    assert '--cpus-per-task=10' in words


@pytest.mark.parametrize('code', [0, 1, 138])
def test_a_job_of_slurm_goes_back_into_the_queue_when_its_time_is_over(tmp_path, code):
    for name, end in (('srun', code), ('scontrol', 0)):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\nexit {end}\n')
        program.chmod(0o755)
    output = call(
        'bash',
        ROOT / 'tools' / 'train.sbatch',
        'esvit_swin_t',
        'out',
        '--amp',
        expect=code,
        SLURM_JOB_ID='77',
        SLURM_CPUS_PER_TASK='6',
        SLURM_SUBMIT_DIR='/submitted',
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
    )
    first, *rest = output.splitlines()
    assert '--cpus-per-task=6' in first
    assert '/submitted/tools/train.py esvit_swin_t --work-dir out' in first
    assert first.endswith('--launcher slurm --resume --amp')
    assert rest == (['scontrol requeue 77'] if code == 138 else [])


@pytest.mark.parametrize('words', [(), ('--resume', 'a.pth'), ('--amp',)])
def test_restarts_always_go_on(tmp_path, words):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    env = dict(MAX_RESTARTS='3', PATH=f'{tmp_path}:{os.environ["PATH"]}')
    command = ['bash', ROOT / 'tools' / 'dist_train.sh', __file__, '2', *words]
    given = call(*command, **env).splitlines()
    assert '--max_restarts=3' in given
    assert given.count('--resume') == 1
    given = call(*command, **{**env, 'MAX_RESTARTS': '0'}).splitlines()
    assert '--max_restarts=0' in given and given[-len(words) or len(given) :] == [
        *words
    ]
    assert 'got' in call(*command, expect=2, **{**env, 'MAX_RESTARTS': 'x'})
