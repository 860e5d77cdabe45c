"""The images to train on are built first, once, and refused if they are too few."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from support.training import PIPELINE, small_model

from esvit_plugin.datasets import UnlabeledFolder
from esvit_plugin.engine import EsViTRunner, training_data
from esvit_plugin.engine.training_data import build_training_runner


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        pixels = rng.integers(0, 256, (70, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')
    return folder


def training(images, tmp_path, **loader):
    return Config(
        dict(
            model=small_model(regions=False),
            work_dir=str(tmp_path / 'run'),
            train_dataloader=dict(
                dict(
                    batch_size=4,
                    num_workers=0,
                    drop_last=True,
                    dataset=dict(
                        type='UnlabeledFolder',
                        data_root=str(images),
                        pipeline=[dict(type='LoadImage'), *PIPELINE],
                    ),
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    collate_fn=dict(type='default_collate'),
                ),
                **loader,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_hooks=dict(checkpoint=None),
            default_scope='mmpretrain',
            runner_type='EsViTRunner',
        )
    )


@pytest.mark.parametrize(
    ('launcher', 'processes', 'loader', 'message'),
    [
        ('none', 1, dict(batch_size=16), '8 images, batch 16 x 1, drop_last=True: no'),
        ('pytorch', 2, dict(batch_size=5), '8 images, batch 5 x 2, drop_last=True: no'),
        ('slurm', 9, dict(batch_size=2), '8 images, batch 2 x 9, drop_last=True: no'),
        # The sampler repeats images, so that each process has two.
        ('pytorch', 5, dict(batch_size=2), None),
        ('none', 1, dict(batch_size=16, drop_last=False), None),
        ('none', 1, dict(batch_size=16, num_batch_per_epoch=1), None),
    ],
)
def test_a_set_smaller_than_a_batch(
    images, tmp_path, monkeypatch, launcher, processes, loader, message
):
    cfg = training(images, tmp_path, **loader)
    cfg.launcher = launcher
    for name in ('WORLD_SIZE', 'SLURM_NTASKS'):
        monkeypatch.setenv(name, str(processes))

    class Reached(Exception):
        pass

    def build_runner(_):
        raise Reached

    monkeypatch.setattr(training_data, 'build_runner', build_runner)
    with pytest.raises(ValueError if message else Reached) as error:
        build_training_runner(cfg)
    if message:
        assert message in str(error.value)
        assert 'smaller train_dataloader.batch_size' in str(error.value)
        assert 'train_dataloader.drop_last=False' in str(error.value)
    assert not (tmp_path / 'run').exists()


@pytest.fixture
def listings(monkeypatch):
    """How often the files of a folder were listed."""
    found = []
    load = UnlabeledFolder.load_data_list

    def counted(self):
        found.append(self)
        return load(self)

    monkeypatch.setattr(UnlabeledFolder, 'load_data_list', counted)
    return found


@pytest.mark.parametrize('runner_type', ['EsViTRunner', None])
def test_the_images_are_built_once(images, tmp_path, listings, runner_type):
    cfg = training(images, tmp_path)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.auto_scale_lr = dict(base_batch_size=2, enable=True)
    if runner_type is None:
        cfg.pop('runner_type')
    before = cfg.pretty_text
    runner = build_training_runner(cfg)
    assert len(listings) == 1
    assert type(runner) is (EsViTRunner if runner_type else Runner)
    runner.train()
    assert runner.iter == 2 and len(listings) == 1
    # For twice 4 images, of mmengine's Runner, too
    assert runner.optim_wrapper.optimizer.param_groups[0]['lr'] == 0.01 * 4
    # The very same, not a copy
    assert runner.train_dataloader.dataset is listings[0]
    # What is logged and kept beside the checkpoints stays a config.
    assert runner.cfg.train_dataloader == cfg.train_dataloader
    assert cfg.pretty_text == before


def test_other_programs_share_what_tells_the_number_of_classes(tmp_path, monkeypatch):
    from mmpretrain.datasets import CustomDataset

    for part in ('train', 'val'):
        for name in ('ant', 'bee'):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new('RGB', (8, 8)).save(tmp_path / part / name / 'a.png')
    found = []
    load = CustomDataset.load_data_list
    monkeypatch.setattr(
        CustomDataset, 'load_data_list', lambda self: found.append(1) or load(self)
    )
    loaders = {
        f'{part}_dataloader': dict(
            batch_size=2,
            num_workers=0,
            dataset=dict(
                type='CustomDataset',
                data_root=str(tmp_path / part),
                pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
            ),
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        for part in ('train', 'val')
    }
    head = dict(type='LinearClsHead', num_classes=None, in_channels=512)
    cfg = Config(
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet', depth=18),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(head, loss=dict(type='CrossEntropyLoss')),
            ),
            data_preprocessor=dict(num_classes=2),
            work_dir=str(tmp_path / 'run'),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(),
            val_evaluator=dict(type='Accuracy', topk=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_hooks=dict(checkpoint=None),
            default_scope='mmpretrain',
            **loaders,
        )
    )
    runner = EsViTRunner.from_cfg(cfg)
    assert runner.model.head.num_classes == 2
    runner.train()
    assert runner.iter == 1 and len(found) == 2
