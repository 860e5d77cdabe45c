"""The number of classes comes from the images, where the config leaves it open."""

import copy
from argparse import Namespace

import pytest
from mmengine.config import Config
from PIL import Image
from support.paths import ROOT

from esvit_plugin.engine import training_data
from esvit_plugin.engine.class_count import build_dataset, fill_num_classes
from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.data_folders import check_training_data


@pytest.fixture
def folder(tmp_path):
    for part in ('train', 'val'):
        for number, name in enumerate(('ant', 'bee', 'cow')):
            path = tmp_path / part / name / f'{number}.png'
            path.parent.mkdir(parents=True)
            Image.new('RGB', (8, 8)).save(path)
    return tmp_path


def classifier(num_classes=None, topk=(1,), **dataset):
    return Config(
        dict(
            model=dict(head=dict(num_classes=num_classes), num_classes=num_classes),
            train_dataloader=dict(dataset=dataset) if dataset else None,
            val_evaluator=[dict(type='Accuracy', topk=topk)],
        )
    )


@pytest.mark.parametrize('name', ['linear_folder', 'finetune_folder'])
def test_configs_of_own_folders(folder, name):
    cfg = load_config(str(ROOT / f'configs/demo/{name}.py'), {'data_root': str(folder)})
    fill_num_classes(cfg)
    assert cfg.model.data_preprocessor.num_classes == 3
    head = cfg.model if name == 'linear_folder' else cfg.model.head
    assert head.num_classes == 3


def test_labels_without_names_are_counted(folder):
    (folder / 'list.txt').write_text('train/ant/0.png 0\ntrain/bee/1.png 6\n')
    cfg = classifier(type='CustomDataset', data_root=str(folder), ann_file='list.txt')
    fill_num_classes(cfg)
    assert cfg.model == dict(head=dict(num_classes=7), num_classes=7)


def test_a_number_stays_and_no_image_is_looked_at():
    cfg = classifier(10, type='CustomDataset', data_root='nowhere')
    fill_num_classes(cfg)
    assert cfg.model.num_classes == 10


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (classifier(), 'none of train_dataloader.*give a number'),
        (classifier(3, topk=(1, 5)), r'val_evaluator.topk=\(1, 5\) needs 5 .*are 3'),
        (classifier(3, topk=4), 'val_evaluator.topk=4 needs 4 classes'),
    ],
)
def test_what_cannot_work_is_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        fill_num_classes(cfg)


@pytest.mark.parametrize('label', [-1, -100, 3])
@pytest.mark.parametrize('repeated', [False, True])
def test_labels_that_are_no_class_are_refused(folder, label, repeated):
    """torch's cross-entropy leaves out -100 without a word."""
    (folder / 'list.txt').write_text(f'train/ant/0.png 2\ntrain/bee/1.png {label}\n')
    dataset = dict(type='CustomDataset', data_root=str(folder), ann_file='list.txt')
    if repeated:
        dataset = dict(type='RepeatDataset', times=2, dataset=dataset)
    cfg = classifier(3, **dataset)
    built = dict(train_dataloader=build_dataset(cfg, 'train_dataloader'))
    message = f'train_dataloader: .*1.png has the label {label} in .*list.txt.*0 to 2:'
    with pytest.raises(ValueError, match=message):
        fill_num_classes(cfg, built)
    if label > 0:
        fill_num_classes(classifier(4, **dataset), built)
    elif not repeated:
        with pytest.raises(ValueError, match=message):
            fill_num_classes(classifier(**dataset))


def test_more_folders_than_classes_are_refused(folder):
    cfg = classifier(2, type='LabeledFolder', data_root=str(folder / 'train'))
    built = dict(train_dataloader=build_dataset(cfg, 'train_dataloader'))
    message = r'cow/2.png has the label 2, but .* 2 classes, 0 to 1'
    with pytest.raises(ValueError, match=message):
        fill_num_classes(cfg, built)


def test_images_without_labels_are_refused(folder):
    cfg = classifier(type='UnlabeledFolder', data_root=str(folder))
    with pytest.raises(ValueError, match='UnlabeledFolder has no classes'):
        fill_num_classes(cfg)


def test_other_classes_to_validate_on_are_refused(folder):
    (folder / 'val' / 'cow').rename(folder / 'val' / 'dog')
    cfg = load_config(
        str(ROOT / 'configs/demo/linear_folder.py'), {'data_root': str(folder)}
    )
    with pytest.raises(ValueError, match='different classes: cow, dog'):
        fill_num_classes(cfg)


def test_a_training_does_not_read_what_it_is_tested_on(folder, monkeypatch):
    (folder / 'val').rename(folder / 'valid')
    cfg = classifier(
        type='LabeledFolder', data_root=str(folder), data_prefix='train', pipeline=[]
    )
    for name, part in (('val', 'valid'), ('test', 'nowhere')):
        dataset = dict(cfg.train_dataloader.dataset, data_prefix=part)
        cfg[f'{name}_dataloader'] = dict(dataset=dataset)
    with pytest.raises((ValueError, FileNotFoundError), match='nowhere'):
        fill_num_classes(copy.deepcopy(cfg))
    built = []
    monkeypatch.setattr(training_data, 'build_runner', lambda cfg: Namespace())
    monkeypatch.setattr(training_data, 'hand_on', lambda _, sets: built.extend(sets))
    training_data.build_training_runner(cfg)
    assert cfg.model.num_classes == 3 and built == [
        'train_dataloader',
        'val_dataloader',
    ]
    # As of a test, which does not read what was validated on
    cfg.model.num_classes = None
    cfg.val_dataloader, cfg.test_dataloader = cfg.test_dataloader, cfg.val_dataloader
    fill_num_classes(cfg, loaders=('train_dataloader', 'test_dataloader'))
    assert cfg.model.num_classes == 3


@pytest.mark.parametrize('name', ['linear_folder', 'finetune_folder_laptop'])
def test_options_of_the_validation_are_those_of_an_equal_test(folder, name):
    (folder / 'val').rename(folder / 'valid')
    options = {
        'data_root': str(folder),
        'val_dataloader.dataset.data_prefix': 'valid',
        'val_evaluator.topk': 1,
    }
    cfg = load_config(name, options)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator.topk == 1
    check_training_data(cfg)
    fill_num_classes(cfg)
    # As dumped, and given to esvit test
    dataset = build_dataset(cfg, 'test_dataloader')
    assert len(dataset) == 3


def test_a_data_set_that_refuses_its_images_says_what_to_take(folder):
    cfg = classifier(type='ImageNet', data_root=str(folder), split='train')
    with pytest.raises(ValueError, match='ImageNet refuses.*\n.*is a LabeledFolder'):
        fill_num_classes(cfg)
