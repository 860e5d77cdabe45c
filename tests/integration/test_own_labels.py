"""A labelled folder of one's own, without a number of classes in any config."""

import logging
import re
import sys
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmpretrain import ImageClassificationInferencer
from support.made_up_data import write_image
from support.paths import CONFIGS
from support.small_configs import SMALL_FOLDER
from support.tools import call, run
from support.training import SMALL_SWIN

from esvit_plugin import get_model

WIDTH = 32 + 64 + 64 + 128
SMALL = {
    'linear_folder': dict(backbone=dict(SMALL_SWIN, _delete_=True), in_channels=WIDTH),
    'finetune_folder': dict(
        backbone=dict(SMALL_SWIN, _delete_=True), head=dict(in_channels=128)
    ),
}


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp('labelled')
    for number, name in enumerate(('ant', 'bee', 'cow')):
        for part, count in (('train', 4), ('val', 2)):
            for i in range(count):
                write_image(folder / part / name / f'{i}.jpg', 10 * number + i)
    return folder


def train(name, labelled, folder, *options):
    config = folder / f'own_{name}.py'
    loader = dict(batch_size=4, num_workers=0)
    config.write_text(
        f'_base_ = {str(CONFIGS / "demo" / name)!r} + ".py"\n'
        f'data_root = {str(labelled)!r}\n'
        f'model = {SMALL[name]}\n'
        f'train_dataloader = {loader}\n'
        f'val_dataloader = test_dataloader = {loader}\n'
        'train_cfg = dict(max_epochs=2)\n'
    )
    output = run('train.py', config, '--work-dir', folder / 'run', *options)
    return config, folder / 'run' / 'epoch_2.pth', output


@pytest.mark.parametrize('name', list(SMALL))
def test_training_testing_and_predicting(name, labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, checkpoint, _ = train(name, labelled, tmp_path)
    source = config.read_text()
    metrics = tmp_path / 'metrics.json'
    run('test.py', config, checkpoint, '--work-dir', tmp_path, '--out', metrics)
    # A config that lies in the work folder is not overwritten.
    assert config.read_text() == source
    assert re.search(r'"accuracy/top1": [\d.]+', metrics.read_text())
    # The given config leaves the number open, the dumped one has it.
    for cfg in (config, tmp_path / 'run' / config.name):
        model = get_model(cfg, checkpoint)
        image = labelled / 'val' / 'bee' / '0.jpg'
        (result,) = ImageClassificationInferencer(model)(str(image))
        assert result['pred_scores'].shape == (3,)
        assert result['pred_class'] == ['ant', 'bee', 'cow'][result['pred_label']]
    if name == 'linear_folder':
        best = int(torch.load(checkpoint)['state_dict']['best'])
        assert 0 <= best < len(model.lr_factors)
        with torch.no_grad():
            logits = model(torch.rand(1, 3, 224, 224))
            (sample,) = model(torch.rand(1, 3, 224, 224), mode='predict')
        assert logits.shape == (4, 1, 3)
        torch.testing.assert_close(sample.pred_score, sample.sweep_scores[best])
    open_number = 'num_classes of the model is None.*checkpoint'
    with pytest.raises(ValueError, match=open_number):
        get_model(config)
    # mmpretrain's own way, from files.
    theirs = ImageClassificationInferencer(
        str(tmp_path / 'run' / config.name), str(checkpoint)
    )
    (other,) = theirs(str(image))
    assert other['pred_label'] == result['pred_label']


def test_without_a_validation_the_plain_rate_predicts(labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ['--no-validate', '--cfg-options', 'train_cfg.max_epochs=2']
    config, checkpoint, _ = train('linear_folder', labelled, tmp_path, *words)
    model = get_model(config, checkpoint)
    assert int(model.best) == -1
    texts = []
    monkeypatch.setattr(
        'esvit_plugin.models.classifiers.linear_sweep.print_log',
        lambda text, level, **_: texts.append((level, text)),
    )
    for _ in range(2):
        (sample,) = model(torch.rand(1, 3, 224, 224), mode='predict')
    number = model.lr_factors.index(1.0)
    torch.testing.assert_close(sample.pred_score, sample.sweep_scores[number])
    ((level, text),) = texts
    assert level == logging.WARNING and 'pred_label is of lr_factor 1' in text


def test_lists_with_labels(labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = []
    for part, names in (('train', ('cow', 'ant')), ('val', ('ant', 'cow'))):
        lines = [f'{part}/{name}/0.jpg {names.index(name)}' for name in names]
        (labelled / f'{part}_list.txt').write_text('\n'.join(lines))
        dataset = f'{part}_dataloader.dataset'
        options += [f'{dataset}.ann_file={part}_list.txt', f'{dataset}.data_prefix=']
    options = ['--cfg-options', 'train_dataloader.batch_size=2', *options]
    _, checkpoint, _ = train('finetune_folder', labelled, tmp_path, *options)
    weights = torch.load(checkpoint)['state_dict']
    assert len(weights['head.fc.weight']) == 2


def test_knn_and_transfer_of_a_pretraining(labelled, tmp_path, monkeypatch):
    pytest.importorskip('sklearn')
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'own.py'
    base = CONFIGS / 'demo' / 'esvit_swin_folder_knn.py'
    config.write_text(f'_base_ = {str(base)!r}\n{SMALL_FOLDER}')
    root = f'data_root={labelled}'
    run('train.py', config, '--cfg-options', root)
    checkpoint = 'work_dirs/own/epoch_1.pth'
    (log,) = (tmp_path / 'work_dirs' / 'own').glob('*/*.log')
    assert re.search(r'k-NN, k=20: top-1 [\d.]+ %', log.read_text())
    # The same images, named by the config or on the command line.
    outputs = [
        run('knn.py', config, checkpoint, '--k', 3, *words)
        for words in (['--cfg-options', root], ['--data', labelled])
    ]
    assert outputs[0] == outputs[1] and re.search(r'^k=3 +top-1', outputs[0], re.M)
    words = ['--datasets', 'transfer_folder', '--data-root', labelled]
    output = run('transfer.py', config, checkpoint, *words, '--num-workers', 0)
    assert re.search(r'Own folder: accuracy [\d.]+ %', output)
    assert 'val: 6 images' not in output and 'test: 6 images' in output


@pytest.mark.parametrize('name', ['linear_folder_laptop', 'finetune_folder_laptop'])
def test_a_teacher_of_the_laptop_config_fits(name, labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher = get_model('esvit_swin_folder_laptop')
    torch.save(dict(state_dict=teacher.state_dict()), 'teacher.pth')
    words = (
        f'data_root={labelled}',
        'model.backbone.init_cfg.checkpoint=teacher.pth',
        'train_dataloader.batch_size=6',
        # Workers of several runs in one process end in each other's way.
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        'train_cfg.max_epochs=1',
    )
    run('train.py', CONFIGS / 'demo' / f'{name}.py', '--cfg-options', *words)
    weights = torch.load(tmp_path / 'work_dirs' / name / 'epoch_1.pth')['state_dict']
    if name.startswith('linear'):
        for key, value in teacher.teacher['backbone'].state_dict().items():
            assert torch.equal(weights[f'backbone.{key}'], value), key


@pytest.mark.parametrize('name', ['linear_folder_laptop', 'own_linear_folder'])
def test_mmpretrains_program_takes_the_folder(name, labelled, tmp_path):
    """In a process of its own, as nothing of ours has read the config there."""
    config = CONFIGS / 'demo' / f'{name}.py'
    words = []
    if not config.is_file():
        config = tmp_path / f'{name}.py'
        base = str(CONFIGS / 'demo' / 'linear_folder_laptop.py')
        config.write_text(f'_base_ = {base!r}\ndata_root = {str(labelled)!r}\n')
    else:
        words = [f'data_root={labelled}']
    tools = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
    small = (
        'model.backbone.arch.embed_dims=16',
        'model.backbone.arch.depths=[1,1,2,1]',
        'model.backbone.arch.num_heads=[1,2,4,8]',
        f'model.in_channels={WIDTH}',
        'model.backbone.init_cfg=None',
        'train_dataloader.batch_size=6',
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        'train_cfg.max_epochs=1',
    )
    program = (sys.executable, tools / 'train.py', config, '--work-dir', tmp_path / 'r')
    call(*program, '--cfg-options', *words, *small)
    weights = torch.load(tmp_path / 'r' / 'epoch_1.pth')['state_dict']
    assert weights['heads.0.weight'].shape == (3, WIDTH)
    if words:
        output = call(*program, expect=1)
        assert 'LabeledFolder has no data_root' in output
