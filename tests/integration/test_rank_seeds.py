"""Random numbers of each process's own: ``randomness=dict(diff_rank_seed=True)``."""

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.structures import DataSample
from support.training import (
    RandomViews,
    StopAfter,
    build_runner,
    join_two,
    small_model,
    spawn_two,
)

from esvit_plugin.engine.hooks.utils import unwrap_model

pytestmark = pytest.mark.slow


class Numbered(RandomViews):
    """Samples that say which they are, of images that may be the same."""

    def __init__(self, same=False):
        super().__init__()
        self.same = same

    def __getitem__(self, index):
        sample = super().__getitem__(0 if self.same else index)
        sample['data_samples'] = DataSample(metainfo=dict(sample_idx=index))
        return sample


class Record(Hook):
    """Keeps the weights at the start, and the images and losses of each iteration."""

    def __init__(self):
        self.start, self.images, self.losses = {}, [], []

    def before_train(self, runner):
        state = unwrap_model(runner).state_dict()
        self.start = {name: value.clone() for name, value in state.items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.images.append([s.sample_idx for s in data_batch['data_samples']])
        self.losses.append(outputs['loss'].detach())


def train(work_dir, cfg, own=True, same=False, stop=None, **options):
    record = Record()
    runner = build_runner(
        work_dir,
        model=small_model(drop_path_rate=0.5),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=Numbered(same),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='TeacherTempHook', warmup_epochs=2),
            dict(type='RandomStateHook'),
            record,
            *([StopAfter(stop)] if stop else []),
        ],
        randomness=dict(seed=5, diff_rank_seed=own),
        **cfg,
        **options,
    )
    runner.train()
    return dict(
        seed=runner.seed,
        start=record.start,
        images=record.images,
        losses=torch.stack(record.losses),
        end=unwrap_model(runner).state_dict(),
    )


def worker(rank, port, folder):
    cfg = join_two(rank, port)
    once = dict(same=True, train_cfg=dict(by_epoch=True, max_epochs=1))
    found = dict(
        alike=train(f'{folder}/alike', cfg, own=False, **once),
        own=train(f'{folder}/own', cfg, **once),
        whole=train(f'{folder}/whole', cfg),
        first=train(f'{folder}/parts', cfg, stop=1),
    )
    torch.manual_seed(9)
    found['second'] = train(f'{folder}/parts', cfg, resume=True)
    torch.save(found, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    return spawn_two(worker, tmp_path_factory.mktemp('seeds'))


def assert_equal(states):
    one, other = states
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_each_process_has_a_stochastic_depth_of_its_own(results):
    """All images are the same, so that losses differ by dropped paths alone."""
    alike, own = (
        [found[name]['losses'] for found in results] for name in ('alike', 'own')
    )
    assert torch.equal(alike[0], alike[1])
    assert (own[0] != own[1]).all()


@pytest.mark.parametrize('name', ['own', 'whole', 'second'])
def test_student_teacher_and_centers_are_the_same_everywhere(results, name):
    assert any('teacher.' in key for key in results[0][name]['start'])
    assert any('center' in key for key in results[0][name]['start'])
    for moment in ('start', 'end'):
        assert_equal([found[name][moment] for found in results])


@pytest.mark.parametrize('name', ['whole', 'second'])
def test_the_processes_share_out_the_images(results, name):
    images = [torch.tensor(found[name]['images']).view(-1, 4) for found in results]
    for epoch in torch.cat(images, 1).tolist():
        assert sorted(epoch) == list(range(8))
    # What is drawn for an image follows from the seed of the run.
    assert {found[name]['seed'] for found in results} == {5}


def test_a_resumed_run_ends_bit_for_bit_the_same(results):
    for found in results:
        assert (
            found['first']['images'] + found['second']['images']
            == (found['whole']['images'])
        )
        losses = torch.cat([found[part]['losses'] for part in ('first', 'second')])
        assert torch.equal(losses, found['whole']['losses'])
        assert_equal([found['whole']['end'], found['second']['end']])
