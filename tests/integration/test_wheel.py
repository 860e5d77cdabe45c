"""A newcomer with a wheel: no repository, an empty folder, 60 photographs."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import numpy as np
import pytest
from support.made_up_data import write_image
from support.paths import CONFIGS, ROOT
from support.small_configs import SMALL_FOLDER
from support.tools import is_drawn

pytestmark = pytest.mark.slow

# The folder config with a network and views for seconds, and labelled images.
OWN = f"""
_base_ = 'esvit_plugin::demo/esvit_swin_folder.py'
data_root = 'photos'
{SMALL_FOLDER}
labelled = dict(
    batch_size=12,
    num_workers=0,
    dataset=dict(
        type='CustomDataset',
        data_root='labelled',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=72, edge='short'),
            dict(type='CenterCrop', crop_size=64),
            dict(type='PackInputs'),
        ],
    ),
)
knn_dataloader = dict(labelled, _delete_=True)
knn_val_dataloader = dict(labelled, _delete_=True)
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """A wheel of this checkout, built from a copy, which building would write into."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    source.mkdir()
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE', 'esvit_cli.py'):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / 'model-index.yml', source)
    ignore = shutil.ignore_patterns('__pycache__')
    for name in ('esvit_plugin', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    pip('wheel', '--no-deps', '--no-build-isolation', '-w', folder, source)
    (path,) = folder.glob('*.whl')
    return path


def pip(*words):
    command = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    run = subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, env=environment()
    )
    assert not run.returncode, run.stdout + run.stderr


def environment():
    return {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}


@pytest.fixture(scope='module')
def esvit(wheel, tmp_path_factory):
    """The command of the wheel, in an empty folder."""
    folder = tmp_path_factory.mktemp('newcomer')
    home = folder / 'environment'
    venv.create(home, with_pip=False, symlinks=True)
    scripts = home / 'bin'
    pip('--python', scripts / 'python', 'install', '--no-deps', '--no-index', wheel)
    (packages,) = home.glob('lib/python*/site-packages')
    # What it needs is borrowed from this environment.
    (packages / 'borrowed.pth').write_text(sysconfig.get_path('purelib'))
    work = folder / 'work'
    work.mkdir()

    def call(*words, program='esvit', expect=0):
        run = subprocess.run(
            [scripts / program, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=work,
            env=environment(),
        )
        output = run.stdout + run.stderr
        assert run.returncode == expect, output[-4000:]
        return output

    call.work = work
    call.packages = packages
    return call


def test_a_wheel_has_one_copy_of_each_config(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    inside = 'esvit_plugin/.mim/configs/'
    found = sorted(n.removeprefix(inside) for n in names if '/configs/' in n)
    files = [p for p in CONFIGS.rglob('*') if p.suffix in ('.py', '.yml', '.md')]
    assert found == sorted(str(path.relative_to(CONFIGS)) for path in files)
    assert {'esvit_plugin/.mim/model-index.yml', 'esvit_plugin/.mim/tools/train.py'} < {
        *names
    }
    assert not [name for name in names if name.startswith(('tests', 'docs'))]


def test_the_package_is_that_of_the_wheel(esvit):
    code = (
        'import esvit_plugin, mmpretrain\n'
        'from esvit_plugin.engine.configs import config_path\n'
        'from mmengine.hub import get_config\n'
        'print(esvit_plugin.__file__)\n'
        "print(config_path('esvit_swin_photos'))\n"
        "print(get_config('esvit_plugin::esvit/esvit_swin_t.py').filename)\n"
        "print(len(mmpretrain.list_models('esvit_swin_t')))\n"
    )
    lines = esvit('-W', 'ignore', '-c', code, program='python').splitlines()[-4:]
    assert all(line.startswith(str(esvit.packages)) for line in lines[:3])
    assert int(lines[3]) > 5


LOG = r'\d\d/\d\d \d\d:\d\d:\d\d - mmengine - (INFO|WARNING) - '
NUMBER = r'[-+.\de]+'
# All that a newcomer reads: of any other line somebody would have to ask what it means.
LINES = [
    LOG + r'The learning rate is for batches of 32 images, and these have 12 \(1 x 12 '
    r'images\): --auto-scale-lr \(auto_scale_lr\.enable=True\) scales it\.',
    r'Images of 224 px; --size is another',
    LOG + r'max_epochs=\d: the training ends before the warm-up does\.',
    LOG + r'Environment, config and hooks of this run: work_dirs/own/\S+\.log',
    LOG + r'EMATeacherHook: in \d+ iterations a momentum of 0\.9995 would leave \d+ % '
    r'of the initial weights in the teacher; it begins with 0\.\d+, which leaves 1 %\.',
    LOG + r'Checkpoints will be saved to \S+/work_dirs/own\.',
    LOG + r'GradientMonitorHook logs( grad_norm_\w+: \S+){2} of the backbone',
    LOG + r'Exp name: own_\d+_\d+',
    LOG + r'Epoch\(train\) \[\d\]\[5/5\]( +[a-z_]+: [-+.:\de]+)+',
    LOG + r'Saving checkpoint at \d epochs',
    r'Loads checkpoint by local backend from path: \S+/epoch_1\.pth',
    LOG + r'Load checkpoint from \S+/epoch_1\.pth',
    LOG + r'resumed epoch: 1, iter: 5 from \S+/epoch_1\.pth',
    LOG + r'Other settings than before: epochs 1 -> 2\.',
    r'Extracting the features of the teacher',
    r'k=1 +top-1 100\.00 %  top-5 100\.00 %',
    r'new/features\.npz: pooled \(60, 128\), regions \(60, 4, 128\), '
    r'last_blocks \(60, 288\)',
    r'new/plane\.png: 60 images of 2 classes',
    r'curves\.png: loss_view, loss_region, teacher_entropy, feature_spread, '
    r'region_spread, lr, grad_norm_first, grad_norm_last of own',
    r'photos/0/3\.jpg',
    rf' +\d+ +{NUMBER}  photos/[01]/\d+\.jpg',
    r'near\.png: 1 images and their neighbours',
    r'views\.png: 1 images, 4 views of each',
    rf'(learning rate|weight decay|teacher momentum|teacher temperature): {NUMBER} at '
    rf'first, {NUMBER} at last, {NUMBER} to {NUMBER}',
    r'schedules\.png: max_epochs=1, epochs of 5 iterations '
    r'\(of its images on one process\)',
    rf'(head \d|mean) +entropy +{NUMBER} nats(, 2 images, teacher)?',
    r'attention/\w+\.png: 7x7 positions, 5 queries(, 60 % of the mass)?',
    rf'accuracy +{NUMBER} % +all +{NUMBER} % +error +{NUMBER} px +'
    rf'similarity +{NUMBER} +'
    r'(photos/0/[34]\.jpg|mean of 2 images, teacher)',
    rf'accuracy: standard error {NUMBER} % over images; by chance {NUMBER} % '
    r'\(one of \d+ x \d+ regions\)',
    r'Written into pairs',
    r'\d+ tensors of teacher\.backbone\.\* written to backbone\.pth',
]


def test_the_first_hour(esvit):
    work = esvit.work
    for number in range(60):
        write_image(work / 'photos' / f'{number // 30}' / f'{number}.jpg', number)
    for number in range(12):
        write_image(work / 'labelled' / 'ab'[number % 2] / f'{number}.jpg', number)
    (work / 'own.py').write_text(OWN)

    def run(*words):
        output = esvit(*words)
        for line in output.splitlines():
            known = any(re.fullmatch(pattern, line) for pattern in LINES)
            assert known or not line.strip(), (words, line)
        return output

    run('train', 'own.py')
    first = work / 'work_dirs' / 'own' / 'epoch_1.pth'
    assert first.is_file()
    words = ['--resume', '--cfg-options', 'train_cfg.max_epochs=2']
    output = run('train', 'own.py', *words)
    assert 'resumed epoch: 1, iter: 5' in output
    trained = 'own.py', first.with_name('epoch_2.pth')
    # Each image is its own nearest neighbour.
    assert 'top-1 100.00 %' in run('knn', *trained, '--k', 1)
    run('features', *trained, 'photos', '-o', 'new/features.npz')
    features = np.load(work / 'new' / 'features.npz')
    assert features['pooled'].shape == (60, 128)
    images = 'photos/0/3.jpg', 'photos/0/4.jpg'
    run('search', 'new/features.npz', images[0], '-o', 'near.png')
    run('embedding', 'new/features.npz', '-o', 'new/plane.png')
    run('curves', 'work_dirs/own', '-o', 'curves.png')
    run('views', 'own.py', images[0], '-o', 'views.png')
    run('schedules', 'own.py', '-o', 'schedules.png')
    run('attention', *trained, *images, '-o', 'attention')
    run('correspondence', *trained, *images, '-o', 'pairs')
    run('extract-backbone', trained[1], 'backbone.pth')
    pictures = ('near', 'curves', 'views', 'schedules', 'new/plane')
    pictures = [work / f'{name}.png' for name in pictures]
    pictures += [next((work / name).glob('*.png')) for name in ('attention', 'pairs')]
    assert all(map(is_drawn, pictures))


def test_modules_and_mistakes(esvit):
    output = esvit('-m', 'esvit_plugin', '--help', program='python')
    assert 'usage: esvit COMMAND' in output
    output = esvit('train', 'esvit_swin_folder', expect=1)
    (line,) = [line for line in output.splitlines() if line.startswith('error: ')]
    assert 'data_root' in line
