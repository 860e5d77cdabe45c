"""DeviceMultiCrop and what the data preprocessor makes of it, against MultiCrop."""

import runpy
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.registry import MODELS, TRANSFORMS
from support.paths import ROOT
from support.plain_views import distance, photo, plain_draw, plain_view
from support.training import build_runner, small_model
from torch.utils.data import DataLoader

from esvit_plugin.datasets import BundledPhotos, DeviceMultiCrop, MultiCrop, load_photo
from esvit_plugin.datasets.transforms.device_augment import augment_views
from esvit_plugin.datasets.transforms.device_multi_crop import IS_RGB, to_row
from esvit_plugin.datasets.transforms.view_group import ViewGroup

ALWAYS = dict(
    flip_prob=0.5,
    color_jitter=(0.4, 0.4, 0.4, 0.5),
    color_jitter_prob=1,
    gray_prob=0.3,
    blur_prob=1,
    solarize_prob=0.3,
    solarize_threshold=150,
)
SMALL = [
    dict(size=32, num_views=2, augment=dict(solarize_prob=0.2)),
    dict(size=16, scale=(0.05, 0.4), num_views=3),
]
NORM = dict(mean=[120.0, 110, 100], std=[60.0, 50, 40], to_rgb=True)


def preprocessor(**options):
    return MODELS.build(dict(type='MultiCropDataPreprocessor', **options))


def batch_of(transform, images, seed=3, epoch=1):
    transform.set_epoch(seed, epoch)
    return default_collate(
        [
            dict(inputs=transform(dict(img=img, sample_idx=i))['img'])
            for i, img in enumerate(images)
        ]
    )


# ---------------------------------------------------------------- parity


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
@pytest.mark.parametrize('augment', [{}, ALWAYS])
def test_views_equal_those_of_multi_crop(order, augment):
    images = [load_photo(name, 150) for name in ('china', 'coffee', 'retina', 'brick')]
    groups = [
        dict(size=64, num_views=3, augment=augment),
        dict(size=32, scale=(0.05, 0.4), num_views=4, augment=augment),
    ]
    options = dict(views=groups, channel_order=order)
    finish = preprocessor()
    made = finish(batch_of(DeviceMultiCrop(**options), images), True)['inputs']
    twin = finish(batch_of(MultiCrop(**options), images), True)['inputs']
    assert [v.shape for v in made] == [(4, 3, 3, 64, 64), (4, 4, 3, 32, 32)]
    for a, b in zip(made, twin, strict=True):
        assert a.dtype == torch.float32 and a.min() >= 0 and a.max() < 255.01
        each = (a - b).abs().mean((2, 3, 4))
        assert each.mean() < 1 and each.max() < 3


CHANGES = [
    dict(),
    dict(flip=True),
    *(
        dict(jitter=((name, factor),))
        for name in ('brightness', 'contrast', 'saturation')
        for factor in (0, 0.6, 1, 1.4, 3)
    ),
    *(dict(jitter=(('hue', f),)) for f in (-0.5, -0.07, 0, 0.1, 0.5)),
    dict(gray=True),
    *(dict(blur_radius=radius) for radius in (0.3, 1.7, 9, 40)),
    dict(solarize=True),
    dict(jitter=(('hue', -0.07), ('contrast', 1.4), ('brightness', 0.7))),
    dict(jitter=(('contrast', 0.6), ('saturation', 1.2), ('hue', 0.1)), blur_radius=1),
    dict(jitter=(('brightness', 1.3), ('hue', 0.2), ('saturation', 0.1)), gray=True),
]
IMAGES = {
    'photo': photo(),
    'noise': np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8),
    'grey': np.repeat(photo()[..., :1], 3, axis=2),
    'black and white': np.random.default_rng(1).integers(0, 2, (60, 80, 3)) * 255,
}


def crops_and_params(image, order, size=48, changes=CHANGES):
    """One view per entry of ``changes``, all of one crop of the image."""
    group = ViewGroup(size=size, augment=dict(solarize_threshold=99.5))
    plain = torch.tensor(plain_view(image, plain_draw(), size)).permute(2, 0, 1)
    crops = (plain if order == 'rgb' else plain.flip(0)).expand(
        len(changes), -1, -1, -1
    )
    rows = [to_row(group, plain_draw(**some), order == 'rgb') for some in changes]
    return crops.contiguous(), torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('name', IMAGES)
def test_each_view_gets_its_own_operations_as_of_torchvision(name, order):
    image = IMAGES[name].astype(np.uint8)
    crops, params = crops_and_params(image, order)
    before = crops.clone()
    made = augment_views(crops, params)
    assert torch.equal(crops, before)
    for view, some in zip(made if order == 'rgb' else made.flip(1), CHANGES):
        twin = plain_view(image, plain_draw(**some), 48, 99.5)
        # Pillow rounds what is blurred six times, the device never.
        assert distance(view.permute(1, 2, 0), twin) < (
            0.8 if some.get('blur_radius') else 0.05
        ), some


def test_other_views_of_the_batch_change_nothing():
    crops, params = crops_and_params(photo(), 'bgr')
    together = augment_views(crops, params)
    for i in range(len(crops)):
        alone = augment_views(crops[i : i + 1], params[i : i + 1])[0]
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-3)


def test_the_device_is_never_waited_for(monkeypatch):
    # A tensor without data cannot tell anything; it knows no autocast either.
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: nullcontext())
    crops, params = crops_and_params(photo(), 'rgb')
    views = augment_views(crops.to('meta'), params)
    assert views.shape == crops.shape and views.dtype == torch.float32


def test_autocast_does_not_coarsen_blurs():
    crops, params = crops_and_params(photo(), 'rgb')
    wanted = augment_views(crops, params)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(augment_views(crops, params), wanted)


# ---------------------------------------------------------------- in a pipeline


def loader_of(kind, **options):
    dataset = BundledPhotos(
        num_train=1,
        crop_size=48,
        pipeline=[dict(type=kind, views=SMALL), dict(type='PackInputs')],
    )
    dataset.pipeline.transforms[0].set_epoch(5, 0)
    return DataLoader(dataset, batch_size=4, collate_fn=default_collate, **options)


def test_workers_change_nothing():
    alone, shared = loader_of('DeviceMultiCrop'), loader_of('DeviceMultiCrop')
    workers = loader_of('DeviceMultiCrop', num_workers=2)
    shared.dataset.pipeline.transforms[0].set_epoch(5, 1)
    changed = False
    for batch, same, other in zip(alone, workers, shared, strict=True):
        for (a, p), (b, q), (c, r) in zip(
            batch['inputs'], same['inputs'], other['inputs'], strict=True
        ):
            assert a.dtype == torch.uint8 and a.is_contiguous()
            assert torch.equal(a, b) and torch.equal(p, q)
            changed |= not torch.equal(a, c) and not torch.equal(p, r)
    assert changed


def test_shapes_and_meta_data():
    batch = next(iter(loader_of('DeviceMultiCrop')))
    shapes = [[tuple(x.shape) for x in pair] for pair in batch['inputs']]
    assert shapes == [[(4, 2, 3, 32, 32), (4, 2, 13)], [(4, 3, 3, 16, 16), (4, 3, 13)]]
    assert batch['data_samples'][2].img_shape == (32, 32)
    made = preprocessor(**NORM)(batch, True)
    assert [v.shape for v in made['inputs']] == [s[0] for s in shapes]
    assert made['data_samples'][2].img_path == 'camera#0'
    plain = preprocessor(**NORM)(next(iter(loader_of('MultiCrop'))), True)
    for a, b in zip(made['inputs'], plain['inputs'], strict=True):
        assert (a - b).abs().mean() * 50 < 1  # std 50: in grey levels


def test_other_batches_are_normalised_alone():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    finish = preprocessor(**NORM)
    wanted = (images.flip(1) - finish.mean) / finish.std
    made = finish(dict(inputs=images))
    assert torch.equal(made['inputs'], wanted) and made['data_samples'] is None
    one, two = finish(dict(inputs=[images, images[:, None]]))['inputs']
    assert torch.equal(one, wanted) and torch.equal(two, wanted[:, None])


def losses_of_one_epoch(work_dir, kind):
    views = [dict(SMALL[0], size=64), dict(SMALL[1], size=32)]
    dataset = dict(
        type='BundledPhotos',
        num_train=1,
        crop_size=64,
        pipeline=[dict(type=kind, views=views), dict(type='PackInputs')],
    )
    loader = dict(
        batch_size=8,
        num_workers=0,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    runner = build_runner(
        work_dir,
        model=dict(small_model(), data_preprocessor=NORM),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=1)),
    )
    runner.train()
    return runner.message_hub.log_scalars['train/loss'].data[0]


@pytest.mark.slow
def test_training_goes_as_with_multi_crop(tmp_path):
    made = losses_of_one_epoch(tmp_path, 'DeviceMultiCrop')
    wanted = losses_of_one_epoch(tmp_path, 'MultiCrop')
    assert len(made) == 2
    np.testing.assert_allclose(made, wanted, rtol=0.02)


def test_one_option_switches_a_config():
    cfg = Config.fromfile(ROOT / 'configs' / 'esvit_swin_t.py')
    option = 'train_dataloader.dataset.pipeline.1.type'
    cfg.merge_from_dict({option: 'DeviceMultiCrop'})
    built = TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[1])
    assert isinstance(built, DeviceMultiCrop) and built.num_views == [2, 8]
    assert cfg.model.data_preprocessor.type == 'MultiCropDataPreprocessor'


def test_benchmark_prints_every_pipeline(monkeypatch, capsys):
    threads = torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr('esvit_plugin.datasets.PHOTO_NAMES', ('coins', 'china'))
    options = ['--size', '80', '60', '--rounds', '1', '--min-side', '500']
    monkeypatch.setattr('sys.argv', ['multi_crop.py', *options])
    runpy.run_path(str(ROOT / 'benchmarks' / 'multi_crop.py'), run_name='__main__')
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('2 JPEGs of 80x60 px, 1 rounds')
    names = ('decoding', 'torchvision', 'lightly', 'MultiCrop') + 2 * ('DeviceMulti',)
    assert len(lines) == 2 + len(names)
    for line, name in zip(lines[2:], names):
        assert line.startswith(name) and line.endswith(('x', 'not installed'))


# ---------------------------------------------------------------- errors


def test_registered_and_as_multi_crop():
    built = TRANSFORMS.build(dict(type='DeviceMultiCrop', views=SMALL))
    assert isinstance(built, DeviceMultiCrop) and built.sizes == [32, 16]
    assert repr(built).startswith('DeviceMultiCrop(views=')
    with pytest.raises(ValueError, match="DeviceMultiCrop's channel_order.*'gbr'"):
        DeviceMultiCrop(channel_order='gbr')
    with pytest.raises(ValueError, match=r"DeviceMultiCrop's views\[0\].*sise"):
        DeviceMultiCrop([dict(sise=3)])
    with pytest.raises(TypeError, match='DeviceMultiCrop.*NoneType'):
        DeviceMultiCrop()(dict(img=None))


def test_mixed_channel_orders_are_refused():
    crops, params = crops_and_params(photo(), 'rgb')
    params[3, IS_RGB] = 0
    with pytest.raises(ValueError, match='RGB and in BGR.*one channel_order'):
        augment_views(crops, params)
