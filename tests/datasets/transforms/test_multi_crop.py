"""MultiCrop: its output, its determinism and its refusals."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from support.plain_views import distance, photo, plain_view
from torch.utils.data import DataLoader

from esvit_plugin.datasets import LoadImage, MultiCrop

OFF = dict(flip_prob=0, color_jitter_prob=0, gray_prob=0, blur_prob=0, solarize_prob=0)
SMALL = [
    dict(size=32, num_views=2, augment=dict(solarize_prob=0.2)),
    dict(size=16, scale=(0.05, 0.4), num_views=3),
]


def sample(img, idx=0, **others):
    return dict(img=img, sample_idx=idx, img_path='some.png', **others)


def views_of(transform, idx=0, img=None):
    return transform(sample(photo() if img is None else img, idx))['img']


def seeded(views=SMALL, seed=1, epoch=0, **kwargs):
    transform = MultiCrop(views, **kwargs)
    transform.set_epoch(seed, epoch)
    return transform


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for x, y in zip(a, b, strict=True)
    )


# ---------------------------------------------------------------- output


def test_transform_is_its_draws_applied_in_order():
    transform = seeded()
    results = sample(photo(), idx=3)
    generator = transform._generator(results)
    draws = transform.draw(generator, *photo().shape[:2])
    made = [
        view.permute(1, 2, 0).flip(2)  # the input is BGR
        for same in transform(results)['img']
        for view in same
    ]
    assert len(made) == len(draws) == 5
    for view, (group, draw) in zip(made, draws, strict=True):
        assert distance(view, plain_view(photo()[..., ::-1], draw, group.size)) < 1


def test_paper_defaults():
    transform = MultiCrop()
    assert (transform.sizes, transform.num_views) == ([224, 96], [2, 8])
    one, two, local = transform.groups
    assert (one.scale, two.scale, local.scale) == ((0.4, 1), (0.4, 1), (0.05, 0.4))
    assert [g.augment.blur_prob for g in transform.groups] == [1.0, 0.1, 0.5]
    assert [g.augment.solarize_prob for g in transform.groups] == [0, 0.2, 0]
    results = transform(sample(photo(), ori_shape=(60, 80)))
    assert [v.shape for v in results['img']] == [(2, 3, 224, 224), (8, 3, 96, 96)]
    assert all(v.dtype == torch.uint8 and v.is_contiguous() for v in results['img'])
    assert results['img_shape'] == (224, 224) and results['ori_shape'] == (60, 80)
    assert not any(isinstance(v, np.ndarray | Image.Image) for v in results.values())


def test_same_size_groups_are_stacked_in_order():
    groups = [
        dict(size=32, augment=OFF),
        dict(size=16, augment=OFF),
        dict(size=32, augment=dict(OFF, gray_prob=1)),
        dict(size=24, num_views=4, augment=OFF),
    ]
    transform = MultiCrop(groups)
    assert (transform.sizes, transform.num_views) == ([32, 16, 24], [2, 1, 4])
    views = views_of(transform)[0]
    is_gray = (views == views[:, :1]).flatten(1).all(1)
    assert is_gray.tolist() == [False, True]


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_channel_order_is_kept(order):
    blue = np.zeros((40, 40, 3), np.uint8)
    blue[..., order.index('b')] = 200
    groups = [dict(size=16, num_views=2, augment=dict(OFF, flip_prob=0.5))]
    views = views_of(MultiCrop(groups, channel_order=order), img=blue)[0]
    assert (views[:, order.index('b')] == 200).all()
    assert views.sum() == 2 * 16 * 16 * 200


def test_channel_order_reaches_the_colour_operations():
    # The same picture in either order: the same views, but for the order.
    rgb = photo()
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    for a, b in zip(
        views_of(seeded(channel_order='rgb'), img=rgb),
        views_of(seeded(channel_order='bgr'), img=bgr),
        strict=True,
    ):
        assert torch.equal(a, b.flip(1))


def test_grey_input_is_replicated():
    grey = photo()[..., 0]
    three = np.repeat(grey[..., None], 3, axis=2)
    wanted = views_of(seeded(), img=three)
    assert same(views_of(seeded(), img=grey), wanted)
    assert same(views_of(seeded(), img=grey[..., None]), wanted)


@pytest.mark.parametrize('shape', [(5, 7), (1, 1), (1, 900), (900, 1), (3, 400)])
def test_tiny_and_extreme_images(shape):
    for idx in range(5):
        views = views_of(seeded(), idx, np.full((*shape, 3), 7, np.uint8))
        assert [v.shape for v in views] == [(2, 3, 32, 32), (3, 3, 16, 16)]


def test_input_is_not_changed():
    img = photo().copy()
    views_of(seeded(), img=img)
    np.testing.assert_array_equal(img, photo())


@pytest.mark.parametrize('interpolation', ['bilinear', 'nearest', 'lanczos'])
def test_interpolation(interpolation):
    views = [dict(size=32, num_views=2, augment=OFF)]
    made = views_of(seeded(views, interpolation=interpolation))
    assert not same(made, views_of(seeded(views)))


# ---------------------------------------------------------------- determinism


def test_views_depend_on_seed_epoch_sample_and_view_only():
    base = views_of(seeded(seed=1, epoch=2), idx=3)
    np.random.seed(99)  # noqa: NPY002
    assert same(base, views_of(seeded(seed=1, epoch=2), idx=np.int64(3)))
    assert not same(base, views_of(seeded(seed=2, epoch=2), idx=3))
    assert not same(base, views_of(seeded(seed=1, epoch=3), idx=3))
    assert not same(base, views_of(seeded(seed=1, epoch=2), idx=4))
    for views in base:
        assert len({v.numpy().tobytes() for v in views}) == len(views)


def test_keys_do_not_collide():
    triples = [(a, b, c) for a in (0, 1, 2**32) for b in (0, 1) for c in (0, 1, 2**32)]
    triples += [(2**63 - 1, 0, 0), (2**31, 2**31, 0)]
    first = set()
    for seed, epoch, idx in triples:
        transform = MultiCrop(SMALL)
        transform.set_epoch(np.int64(seed), np.int32(min(epoch, 2**31 - 1)))
        first.add(transform._generator(dict(sample_idx=idx)).integers(2**62))
    assert len(first) == len(triples)


def test_without_set_epoch_numpy_decides():
    transform = MultiCrop(SMALL)
    np.random.seed(5)  # noqa: NPY002
    one, two = views_of(transform), views_of(transform)
    np.random.seed(5)  # noqa: NPY002
    assert same(one, views_of(transform)) and not same(one, two)


def test_copies_are_equal_but_have_their_own_epoch():
    transform = seeded(seed=1, epoch=2)
    base = views_of(transform)
    for other in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):
        assert same(base, views_of(other)) and other._clock.is_shared()
        other.set_epoch(1, 9)
        assert same(base, views_of(transform)) and not same(base, views_of(other))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('images')
    for i in range(6):
        Image.fromarray(photo(50 + i, 70, seed=i)).save(path / f'{i}.png')
    return path


def dataset_of(folder, views=SMALL):
    return CustomDataset(
        data_root=str(folder),
        with_label=False,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='MultiCrop', views=views),
            dict(type='PackInputs'),
        ],
    )


def two_epochs(folder, first=0, seed=7, **loader):
    """The views of two epochs, by image, through a data loader."""
    dataset = dataset_of(folder)
    transform = dataset.pipeline.transforms[1]
    loader = DataLoader(dataset, 2, collate_fn=default_collate, **loader)
    epochs = []
    for epoch in (first, first + 1):
        transform.set_epoch(seed, epoch)
        epochs.append([batch['inputs'] for batch in loader])
    return epochs


def test_workers_and_resuming_change_nothing(folder):
    wanted = two_epochs(folder, num_workers=0)
    assert not same(wanted[0][0], wanted[1][0])
    runs = [
        two_epochs(folder, num_workers=1),
        two_epochs(folder, num_workers=2, persistent_workers=True),
    ]
    for run in runs:
        for epoch, wanted_epoch in zip(run, wanted, strict=True):
            assert len(epoch) == 3
            assert all(same(a, b) for a, b in zip(epoch, wanted_epoch, strict=True))
    resumed = two_epochs(folder, first=1, num_workers=0)[0]
    assert all(same(a, b) for a, b in zip(resumed, wanted[1], strict=True))


@pytest.mark.slow
def test_set_epoch_reaches_spawned_persistent_workers(folder):
    wanted = two_epochs(folder)
    run = two_epochs(
        folder, num_workers=1, persistent_workers=True, multiprocessing_context='spawn'
    )
    for epoch, wanted_epoch in zip(run, wanted, strict=True):
        assert all(same(a, b) for a, b in zip(epoch, wanted_epoch, strict=True))


def test_through_pack_inputs_and_default_collate(folder):
    loader = DataLoader(
        dataset_of(folder, None), batch_size=3, collate_fn=default_collate
    )
    batch = next(iter(loader))
    shapes = [tuple(views.shape) for views in batch['inputs']]
    assert shapes == [(3, 2, 3, 224, 224), (3, 8, 3, 96, 96)]
    assert all(views.dtype == torch.uint8 for views in batch['inputs'])
    one = batch['data_samples'][1]
    assert one.img_shape == (224, 224) and one.ori_shape == (51, 70)
    assert one.sample_idx == 1 and one.img_path.endswith('1.png')


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    'views, error, words',
    [
        ([], ValueError, ['at least 2 global', 'got 0']),
        ([dict(size=32)], ValueError, ['at least 2 global', 'got 1']),
        (
            [dict(size=16, num_views=2), dict(size=32)],
            ValueError,
            ['largest', '[16, 32]'],
        ),
        ([dict(sise=32)], ValueError, ['views[0]', 'sise', "'size'"]),
        ([dict(), dict(augment=dict(blur=1))], ValueError, ['views[1]', 'blur_prob']),
        ([dict(size=0)], ValueError, ['size', '0']),
        ([dict(size=32.5)], ValueError, ['size', '32.5']),
        ([dict(num_views=0)], ValueError, ['num_views', '0']),
        ([dict(scale=(0.5, 0.4))], ValueError, ['scale', '(0.5, 0.4)']),
        ([dict(scale=(0.5, 1.4))], ValueError, ['scale', '1.4']),
        ([dict(scale=0.5)], TypeError, ['scale', '2 numbers']),
        ([dict(ratio=(0, 1))], ValueError, ['ratio', '(0, 1)']),
        ([dict(augment=dict(flip_prob=1.5))], ValueError, ['flip_prob', '1.5']),
        ([dict(augment=dict(gray_prob='x'))], TypeError, ['gray_prob', "'x'"]),
        ([dict(augment=dict(color_jitter=0.4))], TypeError, ['color_jitter', '4']),
        (
            [dict(augment=dict(color_jitter=(0.4, 0.4, 0.4, 0.6)))],
            ValueError,
            ['hue', '0.6'],
        ),
        ([dict(augment=dict(blur_radius=(2, 1)))], ValueError, ['blur_radius']),
        ([dict(augment=dict(solarize_threshold=300))], ValueError, ['300', '256']),
        ([dict(augment=[1])], TypeError, ['Augment', '[1]']),
        (['224'], TypeError, ['views[0]', "'224'"]),
    ],
)
def test_bad_views(views, error, words):
    with pytest.raises(error) as caught:
        MultiCrop(views)
    assert all(word in str(caught.value) for word in words), caught.value


def test_bad_options():
    with pytest.raises(ValueError, match="channel_order.*'bgr' or 'rgb'.*'gbr'"):
        MultiCrop(channel_order='gbr')
    with pytest.raises(ValueError, match="interpolation.*bicubic.*'cubic'"):
        MultiCrop(interpolation='cubic')


@pytest.mark.parametrize(
    'img, error, words',
    [
        (photo().astype(np.float32), TypeError, ['float32', 'to_float32=False']),
        (None, TypeError, ['NoneType', 'LoadImage']),
        (np.zeros((4, 5, 4), np.uint8), ValueError, ['(4, 5, 4)', 'color_type']),
        (np.zeros((4, 5, 3, 1), np.uint8), ValueError, ['(4, 5, 3, 1)']),
        (np.zeros(4, np.uint8), ValueError, ['(4,)']),
        (np.zeros((0, 5, 3), np.uint8), ValueError, ['(0, 5, 3)']),
    ],
)
def test_bad_images(img, error, words):
    with pytest.raises(error) as caught:
        MultiCrop(SMALL)(sample(img))
    assert all(word in str(caught.value) for word in [*words, 'some.png'])
    with pytest.raises(error, match='unknown'):
        MultiCrop(SMALL)(dict(img=img))


def test_set_epoch_errors():
    transform = MultiCrop(SMALL)
    with pytest.raises(TypeError, match='seed.*None'):
        transform.set_epoch(None, 0)
    with pytest.raises(ValueError, match='epoch.*-1'):
        transform.set_epoch(0, -1)
    transform.set_epoch(0, 0)
    with pytest.raises(KeyError, match='sample_idx'):
        transform(dict(img=photo()))


def test_registered_and_repr():
    built = TRANSFORMS.build(dict(type='MultiCrop', views=SMALL))
    assert isinstance(built, MultiCrop)
    assert isinstance(TRANSFORMS.build(dict(type='LoadImage')), LoadImage)
    for part in ('MultiCrop(', 'size=16', 'solarize_prob=0.2', "'bgr'", "'bicubic'"):
        assert part in repr(built)
