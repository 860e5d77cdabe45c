"""Copies of an image in a wrapped data set have views of their own."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets.samplers import repeat_aug

from esvit_plugin.datasets.seeding import SeededPipeline
from esvit_plugin.engine.hooks.random_state_hook import _transforms, number_items

DEFAULT = dict(type='DefaultSampler', shuffle=False)
CROP = [dict(type='MultiCrop', views=[dict(size=16, num_views=2)])]
# Draw from the global generators of numpy.
MMPRETRAIN = [
    dict(type='RandomResizedCrop', scale=16),
    dict(type='RandomFlip', prob=0.5),
]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (('a', 1), ('b', 3)):
        (tmp_path / name).mkdir()
        for i in range(count):
            image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            assert cv2.imwrite(str(tmp_path / name / f'{i}.png'), image)
    return tmp_path


def plain(folder, steps=CROP, on_error='raise'):
    return dict(
        type='CustomDataset',
        data_root=str(folder),
        pipeline=[
            dict(type='LoadImage', on_error=on_error),
            *steps,
            dict(type='PackInputs'),
        ],
    )


def repeated(*args, **options):
    return dict(type='RepeatDataset', times=2, dataset=plain(*args, **options))


def joined(*args, **options):
    return dict(type='ConcatDataset', datasets=[plain(*args, **options)] * 2)


def balanced(*args, **options):
    # The only image of its class comes more often.
    dataset = plain(*args, **options)
    return dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=dataset)


def nested(*args, **options):
    return dict(type='RepeatDataset', times=2, dataset=joined(*args, **options))


def as_views(inputs):
    """What ``MultiCrop`` gives by size, here of one, or a plain image."""
    return inputs if isinstance(inputs, torch.Tensor) else inputs[0]


def epoch_of(dataset, epoch=0, workers=0, sampler=DEFAULT, **options):
    """The files and views of an epoch, in order."""
    init_default_scope('mmpretrain')
    loader = Runner.build_dataloader(
        dict(
            batch_size=1,
            num_workers=workers,
            dataset=dataset,
            sampler=sampler,
            collate_fn=dict(type='default_collate'),
            **options,
        ),
        seed=0,
    )
    number_items(loader)
    for transform in _transforms(loader.dataset):
        if hasattr(transform, 'set_epoch'):
            transform.set_epoch(7, epoch)
    found = []
    for batch in loader:
        (sample,) = batch['data_samples']
        views = as_views(batch['inputs']).squeeze(0)
        found.append((Path(sample.img_path).name, sample.sample_idx, views))
    return found


def views_of(items):
    return torch.stack([views.float() for *_, views in items])


@pytest.mark.parametrize('wrap', [repeated, joined, balanced, nested])
@pytest.mark.parametrize('steps', [CROP, MMPRETRAIN], ids=['MultiCrop', 'mmpretrain'])
def test_every_item_has_views_of_its_own(folder, wrap, steps):
    dataset = wrap(folder, steps)
    items = epoch_of(dataset)
    views = views_of(items)
    assert len(views) > 4 and len({(name, i) for name, i, _ in items}) == 4
    assert len({view.numpy().tobytes() for view in views}) == len(views)
    # Again, and in another process
    assert torch.equal(views_of(epoch_of(dataset)), views)
    assert torch.equal(views_of(epoch_of(dataset, workers=2)), views)
    other = views_of(epoch_of(dataset, epoch=1))
    assert not any(torch.equal(a, b) for a, b in zip(views, other))


@pytest.mark.parametrize('steps', [CROP, MMPRETRAIN], ids=['MultiCrop', 'mmpretrain'])
def test_plain_data_sets_are_drawn_by_their_index_alone(folder, steps):
    dataset = plain(folder, steps)
    items = epoch_of(dataset)
    assert len(items) == 4
    seeded = SeededPipeline(DATASETS.build(dataset).pipeline)
    for transform in (seeded, *seeded.transforms):
        if hasattr(transform, 'set_epoch'):
            transform.set_epoch(7, 0)
    data = DATASETS.build(dataset).get_data_info(2)
    assert torch.equal(as_views(seeded(data)['inputs']), items[2][-1])
    # Also where mmengine wraps it to shorten the epoch
    short = epoch_of(dataset, num_batch_per_epoch=3)
    assert torch.equal(views_of(short), views_of(items)[:3])


def test_bad_images_are_replaced_by_others(folder):
    for path in (folder / 'b').glob('[12].png'):
        path.write_bytes(b'no image')
    items = epoch_of(repeated(folder, on_error='skip'))
    assert len(items) == 8
    assert {index for _, index, _ in items} == {0, 1}
    assert len({views.numpy().tobytes() for *_, views in items}) == 8


def test_the_data_set_answers_as_the_one_it_wraps(folder):
    init_default_scope('mmpretrain')
    loader = Runner.build_dataloader(
        dict(
            batch_size=1,
            num_workers=0,
            dataset=repeated(folder),
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
    )
    inner = loader.dataset
    number_items(loader)
    number_items(loader)
    assert loader.dataset is not inner and loader.dataset._dataset is inner
    assert loader.dataset.metainfo == inner.metainfo and len(loader.dataset) == 8


@pytest.mark.parametrize('steps', [CROP, MMPRETRAIN], ids=['MultiCrop', 'mmpretrain'])
@pytest.mark.parametrize('processes', [1, 2, 3])
def test_repeats_of_an_image_have_views_of_their_own(
    folder, monkeypatch, steps, processes
):
    """Each process gets a third of its share, as in the program of DeiT."""

    def share(rank):
        monkeypatch.setattr(repeat_aug, 'get_dist_info', lambda: (rank, processes))
        sampler = dict(type='RepeatAugSampler', shuffle=True, num_repeats=3)
        return epoch_of(plain(folder, steps), sampler=sampler)

    items = [item for rank in range(processes) for item in share(rank)]
    assert len(items) >= 4
    # Some of the four images come twice or three times.
    assert len({index for _, index, _ in items}) == 2
    assert len({views.numpy().tobytes() for *_, views in items}) == len(items)
    assert torch.equal(views_of(share(0)), views_of(items[: len(share(0))]))
