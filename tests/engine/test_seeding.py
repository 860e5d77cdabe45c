"""Augmentation by seed, epoch and image, whatever the transforms."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.datasets import RepeatAugSampler
from mmpretrain.engine import SwitchRecipeHook
from torch.utils.data import ConcatDataset, DataLoader

from esvit_plugin.datasets.seeding import SeededPipeline
from esvit_plugin.engine.hooks import RandomStateHook
from esvit_plugin.engine.hooks.random_state_hook import _transforms, number_items


class Draw:
    """Draws from all three global generators."""

    def __call__(self, data):
        draws = random.random(), np.random.rand(), torch.rand(()).item()
        return {**data, 'draws': draws}


def pipeline(epoch=0, seed=3):
    seeded = SeededPipeline(Compose([Draw()]))
    seeded.set_epoch(seed, epoch)
    return seeded


def draws(seeded, index):
    return seeded(dict(sample_idx=index))['draws']


def test_draws_follow_from_seed_epoch_and_sample():
    first = draws(pipeline(), 5)
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    draws(pipeline(), 6)
    assert draws(pipeline(), 5) == first
    others = [
        draws(pipeline(), 6),
        draws(pipeline(epoch=1), 5),
        draws(pipeline(seed=4), 5),
    ]
    for other in others:
        assert not set(other) & set(first)


def test_the_trainings_generators_are_put_back():
    def now():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = now()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    draws(pipeline(), 5)
    assert now() == expected


def test_before_it_is_told_the_epoch_it_is_the_plain_pipeline():
    torch.manual_seed(0)
    first = SeededPipeline(Compose([Draw()]))(dict(sample_idx=0))['draws']
    second = SeededPipeline(Compose([Draw()]))(dict(sample_idx=0))['draws']
    assert first != second


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1, 3])
def test_any_number_of_workers_gives_the_same_images(workers):
    cfg = dict(
        batch_size=4,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=dict(
            type='BundledPhotos',
            num_train=1,
            pipeline=[
                dict(type='mmpretrain.RandomResizedCrop', scale=32),
                dict(type='mmpretrain.RandomFlip', prob=0.5),
                dict(type='mmpretrain.PackInputs'),
            ],
        ),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    from mmengine.registry import init_default_scope

    init_default_scope('mmpretrain')

    def images(workers, epochs):
        loader = Runner.build_dataloader(
            {**cfg, 'num_workers': workers, 'persistent_workers': workers > 0}, seed=0
        )
        number_items(loader)
        (seeded,) = [
            t for t in _transforms(loader.dataset) if isinstance(t, SeededPipeline)
        ]
        found = []
        for epoch in epochs:
            seeded.set_epoch(0, epoch)
            found.append(torch.cat([batch['inputs'] for batch in loader]))
        if loader._iterator is not None:
            loader._iterator._shutdown_workers()
        return found

    expected = images(0, [0, 1])
    assert not torch.equal(*expected)
    found = images(workers, [0, 1])
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    # As a resumed run
    assert torch.equal(images(workers, [1])[0], expected[1])


class Images:
    """Two images, of each what the pipeline draws."""

    def __init__(self):
        self.pipeline = Compose([lambda data: {**data, 'draws': None}])

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.pipeline(dict(sample_idx=index))


@pytest.mark.parametrize('kind', ['plain', 'repeated', 'repeats'])
def test_another_recipe_has_seeds_too(kind):
    """The pipeline that SwitchRecipeHook gives draws by seed, epoch and image."""

    def epochs():
        dataset = ConcatDataset([Images()] * 2) if kind == 'repeated' else Images()
        sampler = RepeatAugSampler(dataset) if kind == 'repeats' else None
        loader = DataLoader(dataset, sampler=sampler, collate_fn=list)
        loop = object.__new__(EpochBasedTrainLoop)
        loop.dataloader = loader
        runner = SimpleNamespace(
            train_dataloader=loader,
            train_loop=loop,
            seed=4,
            epoch=0,
            logger=SimpleNamespace(info=lambda text: None),
            _resume=False,
        )
        switch = SwitchRecipeHook([dict(action_epoch=2, train_pipeline=[])])
        switch.schedule[2]['train_pipeline'] = Compose([Draw()])
        hooks = switch, RandomStateHook()
        found = []
        for hook in hooks:
            hook.before_train(runner)
        for runner.epoch in range(3):
            for hook in hooks:
                hook.before_train_epoch(runner)
            items = [loader.dataset[index] for index in range(len(loader.dataset))]
            found.append([item['draws'] for item in items])
        return found

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first, second, third = epochs()
    assert set(first) == {None}
    assert len(set(second + third)) == 2 * len(first)
    assert epochs() == [first, second, third]
