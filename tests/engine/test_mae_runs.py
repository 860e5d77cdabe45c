"""Runs of masked autoencoders: resumed, by two processes, mixed precision, watched."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from support.mae import small_distilled, small_mae
from support.paths import CONFIGS
from support.training import build_runner, join_two, spawn_two
from torch.utils.data import Dataset

from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.launch import build_runner as build_from_config
from esvit_plugin.models import MAELiteViT

pytestmark = pytest.mark.slow


class RandomImages(Dataset):
    """Made-up images; the same index always gives the same one."""

    def __init__(self, length=8):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(length, 3, 64, 64, generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return dict(inputs=self.images[index], data_samples=DataSample())


class Record(Hook):
    """Keeps the losses, and ends the run after an epoch as if it had been stopped."""

    priority = 'LOWEST'

    def __init__(self, stop=None):
        self.losses, self.stop = [], stop

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.stop:
            runner.train_loop.stop_training = True


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """A checkpoint of a trained masked autoencoder."""
    path = tmp_path_factory.mktemp('teacher') / 'mae.pth'
    torch.manual_seed(5)
    model = MODELS.build(small_mae())
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def config(name, teacher):
    return small_mae() if name == 'mae' else small_distilled(teacher)


def train(work_dir, model, batch_size=4, stop=None, **overrides):
    record = Record(stop)
    options = dict(
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            dataset=RandomImages(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
        custom_hooks=[dict(type='RandomStateHook'), record],
    )
    runner = build_runner(work_dir, model=model, **(options | overrides))
    runner.train()
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model.state_dict(), record.losses


@pytest.mark.parametrize('name', ['mae', 'dmae'])
def test_a_resumed_run_is_the_run_that_was_not_stopped(name, teacher, tmp_path):
    model = config(name, teacher)
    whole, losses = train(tmp_path / 'whole', model)
    _, first = train(tmp_path / 'parts', model, stop=1)
    torch.manual_seed(9)  # whatever happens in between
    resumed, second = train(tmp_path / 'parts', model, resume=True)
    assert first + second == losses and len(set(losses)) == 4
    for key, value in resumed.items():
        assert torch.equal(value, whole[key]), key
    saved = torch.load(tmp_path / 'parts' / 'epoch_2.pth')['state_dict']
    assert not any('target_generator' in key for key in saved)


def test_another_teacher_is_named_on_resume(teacher, tmp_path):
    train(tmp_path / 'run', small_distilled(teacher), stop=1)
    other = tmp_path / 'other.pth'
    other.write_bytes(teacher.read_bytes())
    train(tmp_path / 'run', small_distilled(other), resume=True)
    logs = ''.join(path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))
    (line,) = [one for one in logs.splitlines() if 'Other settings' in one]
    assert line.endswith(f'Other settings than before: teacher {teacher} -> {other}.')


class MaskByImage(MAELiteViT):
    """Which patches are kept follows from the image, in whatever process it is."""

    def random_masking(self, x, mask_ratio=0.75, ids_shuffle=None):
        if ids_shuffle is None:
            ids_shuffle = x.detach().sum(-1).argsort(1)
        return super().random_masking(x, mask_ratio, ids_shuffle)


def worker(rank, port, folder):
    cfg = join_two(rank, port)
    results = {}
    for name in ('mae', 'dmae'):
        torch.manual_seed(0)
        results[name] = train_by_image(name, folder / f'two_{name}', 2, **cfg)
    torch.save(results, folder / f'rank{rank}.pth')
    torch.distributed.destroy_process_group()


def train_by_image(name, work_dir, batch_size, **overrides):
    model = config(name, work_dir.parent / 'teacher.pth')
    model['backbone']['type'] = MaskByImage
    # Plain descent shows a gradient that is not averaged.
    optimizer = dict(type='SGD', lr=0.01)
    return train(
        work_dir,
        model,
        batch_size,
        optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer),
        **overrides,
    )


def test_two_processes_are_one(teacher, tmp_path):
    (tmp_path / 'teacher.pth').write_bytes(teacher.read_bytes())
    two = spawn_two(worker, tmp_path)
    for name in ('mae', 'dmae'):
        torch.manual_seed(0)
        weights, losses = train_by_image(name, tmp_path / f'one_{name}', 4)
        pairs = zip(*(results[name][1] for results in two))
        assert two[0][name][1] != two[1][name][1]
        assert [sum(pair) / 2 for pair in pairs] == pytest.approx(losses, rel=1e-5)
        for key, value in weights.items():
            ours = two[0][name][0][key]
            assert torch.equal(ours, two[1][name][0][key]), key
            torch.testing.assert_close(ours, value, atol=1e-6, rtol=1e-4, msg=key)


@pytest.mark.parametrize('name', ['mae', 'dmae'])
def test_half_precision_is_near(name, teacher, tmp_path):
    model = config(name, teacher)
    _, losses = train(tmp_path / 'whole', model)
    wrapper = dict(
        type='MixedPrecisionOptimWrapper',
        dtype='bfloat16',
        optimizer=dict(type='AdamW', lr=1e-3),
    )
    weights, half = train(tmp_path / 'half', model, optim_wrapper=wrapper)
    assert half != losses and half == pytest.approx(losses, rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights.values())


@pytest.mark.usefixtures('photos_once')
def test_the_demos_train_and_are_watched(tmp_path):
    options = {
        'train_cfg.max_epochs': 1,
        'train_dataloader.dataset.num_train': 2,
        'train_dataloader.batch_size': 8,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'custom_hooks.1.train_dataloader.dataset.num_train': 2,
        'custom_hooks.1.val_dataloader.dataset.num_test': 1,
        'visualizer.vis_backends': [],
    }
    previous = None
    for name in ('mae_photos', 'dmae_photos'):
        own = {'work_dir': str(tmp_path / name)}
        if previous:
            own['model.target_generator.checkpoint'] = str(previous)
        path = str(CONFIGS / 'demo' / f'{name}.py')
        runner = build_from_config(load_config(path, options | own))
        runner.train()
        assert runner.model.training
        accuracy = runner.message_hub.get_scalar('train/loss').current()
        assert accuracy > 0
        assert (
            'k-NN of the backbone'
            in next((tmp_path / name).glob('*/*.log')).read_text()
        )
        previous = tmp_path / name / 'epoch_1.pth'
    assert 'attn_adapter.weight' in torch.load(previous)['state_dict']
