"""Which data folders of a config are looked at, and what is said of them."""

import re
import shutil

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from support.made_up_data import write_image
from support.paths import ROOT
from support.tools import run

from esvit_plugin.engine import EsViTRunner
from esvit_plugin.engine.class_count import build_dataset
from esvit_plugin.engine.config_checks import dicts
from esvit_plugin.engine.configs import config_path, load_config
from esvit_plugin.engine.data_folders import check_data_roots, check_training_data
from esvit_plugin.evaluation.knn import find_loaders


@pytest.fixture
def images(tmp_path):
    for number in range(4):
        write_image(tmp_path / 'images' / f'{number}.jpg', number)
    return tmp_path / 'images'


def own(tmp_path, images, base):
    """The config of docs/own_images.md, on a folder."""
    page = (ROOT / 'docs' / 'own_images.md').read_text()
    text = re.search(r"```python\n(_base_ = 'esvit_plugin::.*?)```", page, re.DOTALL)[1]
    text = re.sub("'esvit_plugin::.*?'", repr(f'esvit_plugin::{base}'), text)
    path = tmp_path / 'mine.py'
    path.write_text(text.replace('/path/to/images', str(images)))
    return path


DEMOS = [
    'esvit_swin_photos',
    'dino_photos',
    'mae_photos',
    'dmae_photos',
    'mocov3_photos',
]
BASES = ['mae_lite/mae_lite_tiny.py', 'mae_lite/dmae_tiny.py', 'mocov3/mocov3_vit_s.py']


@pytest.mark.parametrize('base', BASES)
def test_a_training_looks_at_its_own_images_alone(tmp_path, images, base, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the repository may have its data
    cfg = load_config(str(own(tmp_path, images, base)))
    assert cfg.knn_dataloader.dataset.data_root == 'data/imagenet/'
    check_training_data(cfg)
    with pytest.raises(FileNotFoundError, match=r'ImageNet \(knn_dataloader.dataset'):
        check_data_roots(cfg)
    cfg.train_dataloader.dataset.data_root = 'nowhere'
    wanted = (
        r'nowhere of UnlabeledFolder \(train_dataloader.dataset\) does not exist: '
        'pass --cfg-options train_dataloader.dataset.data_root='
    )
    with pytest.raises(FileNotFoundError, match=wanted):
        check_training_data(cfg)


def test_what_a_training_reads_besides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config('esvit_swin_t')
    train = cfg.train_dataloader.dataset
    with pytest.raises(FileNotFoundError, match=r'pass --cfg-options data_root='):
        check_training_data(cfg)
    train.data_root = str(ROOT)
    with pytest.raises(FileNotFoundError, match=r'custom_hooks\.\d\.train_dataloader'):
        check_training_data(cfg)
    del cfg.custom_hooks[-1]
    check_training_data(cfg)
    cfg.val_dataloader = dict(dataset=dict(train, data_root='nowhere'))
    check_training_data(cfg, validates=False)
    with pytest.raises(FileNotFoundError, match=r'\(val_dataloader\.dataset\)'):
        check_training_data(cfg)


@pytest.mark.parametrize('name', ['esvit_swin_t', 'mae_lite_tiny'])
def test_k_nn_looks_at_the_images_that_it_classifies(name):
    cfg = load_config(name)
    for loader in find_loaders(cfg, name):
        loader.dataset.data_root = str(ROOT)
        loader.dataset.data_prefix = ''
    check_data_roots(cfg, find_loaders(cfg, name))
    find_loaders(cfg, name)[1].dataset.data_root = 'nowhere'
    with pytest.raises(FileNotFoundError, match='nowhere of ImageNet'):
        check_data_roots(cfg, find_loaders(cfg, name))


def test_a_variable_that_nothing_reads_may_be_without_a_folder(tmp_path):
    cfg = Config(
        dict(
            data_root='',
            spare=dict(type='UnlabeledFolder', data_root=''),
            train_dataloader=dict(
                dataset=dict(type='UnlabeledFolder', data_root=str(tmp_path))
            ),
        )
    )
    with pytest.raises(KeyError, match='model'):
        EsViTRunner.from_cfg(cfg)
    cfg.train_dataloader.dataset.data_root = ''
    with pytest.raises(ValueError, match=r"got '' in train_dataloader.dataset"):
        EsViTRunner.from_cfg(cfg)


@pytest.mark.parametrize('name', ['mae_lite_tiny', 'mocov3_vit_s', 'esvit_swin_t'])
def test_pre_training_on_a_folder_names_the_set_without_labels(tmp_path, name):
    write_image(tmp_path / 'train' / 'ant' / 'a.JPEG')
    cfg = load_config(name, {'data_root': str(tmp_path)})
    for _ in range(2):
        with pytest.raises(ValueError, match='refuses its images.*\n.*UnlabeledFolder'):
            build_dataset(cfg, 'train_dataloader')
        # Images without folders of classes
        shutil.rmtree(tmp_path / 'train', ignore_errors=True)


def pretraining_demos():
    for path in sorted((ROOT / 'configs' / 'demo').glob('*.py')):
        model = load_config(str(path)).get('model')
        if model and issubclass(MODELS.get(model.type), BaseSelfSupervisor):
            yield path.stem


@pytest.mark.slow
def test_demos_prepare_other_images_as_large_as_their_own():
    names = [*pretraining_demos()]
    assert len(names) == 10
    for name in names:
        cfg = load_config(name)
        # Of the first view, or of the crop
        sizes = [n.get('size') or n.get('scale') for _, n in dicts(cfg.train_pipeline)]
        size = next(size for size in sizes if isinstance(size, int))
        assert cfg.eval_pipeline[-2].crop_size == size, name
        assert cfg.eval_pipeline[-1].type == 'PackInputs'


@pytest.mark.slow
@pytest.mark.parametrize('name', DEMOS)
def test_k_nn_of_the_demos_takes_a_folder(tmp_path, name):
    for number in range(8):
        part, kind = ('train', 'val')[number % 2], ('ant', 'bee')[number // 4]
        write_image(tmp_path / part / kind / f'{number}.jpg', number)
    weights = MODELS.build(load_config(name).model).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'a.pth')
    path = config_path(name)
    output = run('knn.py', path, tmp_path / 'a.pth', '--data', tmp_path, '--k', 1)
    assert re.search(r'k=1 +top-1 +\d+\.\d+ %', output)


@pytest.mark.slow
@pytest.mark.parametrize('base', [BASES[0], BASES[2]])
def test_the_config_of_the_page_trains(tmp_path, images, base):
    path = own(tmp_path, images, base)
    arch = dict(embed_dims=48, num_layers=1, num_heads=12, feedforward_channels=64)
    neck = dict(embed_dim=48) if 'mae' in base else dict(in_channels=48)
    model = dict(backbone=dict(arch=dict(arch, _delete_=True)), neck=neck)
    path.write_text(f'{path.read_text()}\nmodel = {model}\n')
    run(
        'train.py',
        path,
        '--work-dir',
        tmp_path / 'run',
        '--auto-scale-lr',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=4',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    )
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
