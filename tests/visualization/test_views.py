"""Pictures of augmented views."""

import copy

import numpy as np
import pytest
import torch
from mmpretrain.registry import DATASETS
from PIL import Image
from support.tools import is_drawn, run

from esvit_plugin.datasets import load_photo
from esvit_plugin.engine.configs import config_path, load_config
from esvit_plugin.visualization import draw_views, sample_views

NORMALIZE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.fixture(scope='module')
def demo():
    cfg = load_config(config_path('esvit_swin_photos'))
    cfg.train_dataloader.dataset.update(num_train=1, num_test=1)
    return cfg


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'coffee.png'
    Image.fromarray(load_photo('coffee')).save(path)
    return str(path)


def test_views_are_those_of_the_training(demo):
    samples = list(sample_views(demo, num_images=2, seed=3, epoch=5))
    dataset = DATASETS.build(copy.deepcopy(demo.train_dataloader.dataset))
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    dataset.pipeline.transforms[0].set_epoch(3, 5)
    assert len(samples) == 2
    for sample in samples:
        number = paths.index(sample.name)
        image = dataset.get_data_info(number)['img']
        assert np.array_equal(sample.image, image[..., ::-1])
        expected = [v for group in dataset[number]['inputs'] for v in group]
        titles = [title for title, _ in sample.views]
        assert titles == ['global 1, 64 px', 'global 2, 64 px'] + [
            f'local {i}, 32 px' for i in range(1, 5)
        ]
        for (_, view), bgr in zip(sample.views, expected, strict=True):
            assert np.array_equal(view, bgr.flip(0).permute(1, 2, 0).numpy())


def test_the_device_finishes_its_views(demo):
    cfg = copy.deepcopy(demo)
    cfg.train_dataloader.dataset.pipeline[0].type = 'DeviceMultiCrop'
    (plain,), (device,) = (list(sample_views(c, num_images=1)) for c in (demo, cfg))
    for (title, view), (other_title, other) in zip(
        plain.views, device.views, strict=True
    ):
        assert title == other_title
        assert np.abs(view.astype(float) - other).mean() < 2


def multi_view(**preprocessor):
    """A config of mmpretrain's contrastive methods, within a wrapped data set."""
    augment = [
        dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.2, 1.0)),
        dict(type='RandomFlip', prob=0.5),
    ]
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=[2], transforms=[augment]),
        dict(type='PackInputs'),
    ]
    dataset = dict(type='CustomDataset', data_root='x', pipeline=pipeline)
    repeated = dict(type='RepeatDataset', times=2, dataset=dataset)
    return dict(
        model=dict(type='MoCoV3'),
        data_preprocessor=preprocessor,
        train_dataloader=dict(dataset=repeated),
    )


@pytest.mark.parametrize('to_rgb', [True, False])
def test_pipelines_of_mmpretrain(photo, to_rgb):
    cfg = multi_view(type='SelfSupDataPreprocessor', to_rgb=to_rgb, **NORMALIZE)
    state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first, second = sample_views(cfg, [photo, photo])
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == state
    image = load_photo('coffee')
    assert np.array_equal(first.image, image)
    assert [title for title, _ in first.views] == ['view 1, 64 px', 'view 2, 64 px']
    for _, view in first.views:
        # In colours of the photograph: red above blue.
        assert np.sign(np.subtract(*view.mean((0, 1))[[0, 2]])) == 1
    # The same image twice has other views, another seed too.
    assert not np.array_equal(first.views[0][1], second.views[0][1])
    other = next(sample_views(cfg, [photo], seed=1))
    assert not np.array_equal(first.views[0][1], other.views[0][1])


def test_a_single_view_and_a_moco_view_list(photo):
    for name, titles in {
        'simmim_swin_t': ['view 1, 192 px'],
        'mocov3_vit_s': ['view 1, 224 px', 'view 2, 224 px'],
        'finetune_swin_t': ['view 1, 224 px'],
    }.items():
        (sample,) = sample_views(load_config(config_path(name)), [photo])
        assert [title for title, _ in sample.views] == titles
        assert sample.views[0][1].std() > 10


def test_what_has_no_views_is_refused(tmp_path):
    with pytest.raises(ValueError, match='no pipeline to draw views of'):
        next(sample_views(dict(train_dataloader=dict(dataset=dict(type='A'))), []))
    (tmp_path / 'bad.jpg').write_bytes(b'no image')
    cfg = load_config(config_path('esvit_swin_t'))
    with pytest.raises(ValueError, match=r'bad.jpg cannot be read as an image'):
        next(sample_views(cfg, [str(tmp_path / 'bad.jpg')]))


def test_an_image_that_is_cut_is_named(demo, photo):
    with open(photo, 'r+b') as file:
        file.truncate(5000)
    # Its pipeline loads none, as its set has them in memory.
    with pytest.raises(ValueError, match=r'coffee\.png cannot be read as an image: '):
        next(sample_views(demo, [photo]))


def test_the_picture_shows_all_views_in_one_scale(demo):
    samples = list(sample_views(demo, num_images=2))
    (axis,) = draw_views(samples).axes
    titles = [text.get_text() for text in axis.texts]
    expected = []
    for sample in samples:
        expected += [f'{sample.name}, 64 × 64 px', *(t for t, _ in sample.views)]
    assert titles == expected
    canvas = axis.get_images()[0].get_array()
    (_, first), (_, below) = (axis.texts[i].get_position() for i in (1, 3))
    assert below > first + 190
    # A global view is twice as wide as a local one.
    for number, side in ((1, 190), (2, 190), (3, 95)):
        x, y = axis.texts[number].get_position()
        part = canvas[y + 4 : y + 4 + side, x : x + side]
        view = Image.fromarray(samples[0].views[number - 1][1])
        resized = view.resize((side, side), Image.Resampling.NEAREST)
        assert np.array_equal(part, np.asarray(resized))


def test_the_tool(tmp_path, photo, capsys):
    tool, out = 'analysis_tools/draw_views.py', tmp_path / 'views.png'
    output = run(tool, 'esvit_swin_photos', photo, 'moon', '-o', out)
    assert output.endswith('views.png: 2 images, 6 views of each\n')
    assert is_drawn(out)
    config = config_path('esvit_swin_photos')
    options = ('--num-images=1', '--cfg-options')
    change = 'train_dataloader.dataset.pipeline.0.type=DeviceMultiCrop'
    output = run(tool, config, '-o', out, *options, change)
    assert output.endswith('1 images, 6 views of each\n')
    with pytest.raises(ValueError, match='--epoch must be >= 1, got 0'):
        run(tool, config, '-o', out, '--epoch=0')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        run(tool, config, 'nowhere', '-o', out)
    with pytest.raises(FileNotFoundError, match='data_root'):
        run(tool, 'esvit_swin_t', '-o', out)


@pytest.mark.parametrize('loads', [True, False])
def test_images_beside_those_of_archives_and_turned_ones(demo, tmp_path, loads):
    cfg = copy.deepcopy(demo)
    if loads:
        # What configs of TSV files and of archives begin with.
        steps = cfg.train_dataloader.dataset.pipeline
        steps.insert(0, dict(type='LoadImageFromBytes'))
    photo = Image.fromarray(load_photo('coffee')).resize((90, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    path = tmp_path / 'turned.png'
    photo.save(path, exif=exif)
    (sample,) = sample_views(cfg, [str(path)])
    turned = np.asarray(photo.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(sample.image, turned)
