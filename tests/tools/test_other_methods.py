"""The tools on checkpoints of MAE, D-MAE and MoCo v3, which have no teacher."""

import cv2
import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from support.mae import small_distilled, small_mae
from support.mocov3 import released_checkpoint, released_shapes, small_mocov3
from support.tools import run

from esvit_plugin import get_model, load_backbone, prepare_images
from esvit_plugin.evaluation.feature_file import read_origin

EXTRACT = 'model_converters/extract_backbone.py'
TIMM = 'model_converters/to_timm.py'
METHODS = {
    'mae_lite': small_mae(),
    'mae': small_mae(type='MAEViT'),
    'dmae': small_distilled('nowhere.pth'),
    'mocov3': small_mocov3(),
}
RESNET = small_mocov3(neck=dict(in_channels=512, with_avg_pool=True))
RESNET['backbone'] = dict(type='ResNet', depth=18)


def saved(tmp_path, model, **others):
    """Paths of a config and of a checkpoint of random weights."""
    torch.manual_seed(0)
    built = MODELS.build(model)
    with torch.no_grad():
        for param in built.parameters():
            param.add_(0.05 * torch.randn_like(param))
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'checkpoint.pth'
    Config(dict(model=model, **others)).dump(str(config))
    torch.save(dict(state_dict=built.state_dict()), checkpoint)
    return config, checkpoint


def backbone_weights(checkpoint):
    weights = torch.load(checkpoint)['state_dict']
    prefix = 'backbone.'
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in 'abc':
        pixels = rng.integers(256, size=(70, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f'{name}.png'), pixels)
    return folder


def classifier(**backbone):
    return dict(
        type='ImageClassifier',
        backbone=dict(small_mocov3()['backbone'], type='VisionTransformer', **backbone),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=48),
    )


@pytest.mark.parametrize('method', METHODS)
def test_features_and_similar_images(tmp_path, images, method):
    config, checkpoint = saved(tmp_path, METHODS[method])
    out = tmp_path / 'features.npz'
    options = ('-o', out, '--num-workers=0', '--num-blocks=2')
    run('extract_features.py', config, checkpoint, images, *options)
    found = np.load(out)
    assert read_origin(str(out)).source == 'backbone'
    model = load_backbone(config, checkpoint)
    inputs = prepare_images([str(path) for path in found['paths']], model)
    for name, expected in (
        ('pooled', model.extract_feat(inputs)),
        ('regions', model.extract_regions(inputs)),
        ('last_blocks', model.feature_function('last_blocks', 2)(inputs)),
    ):
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    assert found['regions'].shape[1] in (4, 16)
    output = run('search.py', out, images / 'a.png', '--num-neighbours=1')
    assert output.splitlines()[1].endswith(('b.png', 'c.png'))
    with pytest.raises(ValueError, match='has no student'):
        run('extract_features.py', config, checkpoint, images, *options, '--student')


def test_features_without_regions(tmp_path, images):
    config, checkpoint = saved(tmp_path, classifier(out_type='avg_featmap'))
    out = tmp_path / 'features.npz'
    args = ('extract_features.py', config, checkpoint, images, '-o', out)
    with pytest.raises(ValueError, match='out_type.* --keys pooled last_blocks'):
        run(*args, '--num-workers=0', '--num-blocks=2')
    run(*args, '--num-workers=0', '--num-blocks=2', '--keys', 'pooled')
    assert np.load(out)['pooled'].shape == (3, 48)


@pytest.mark.parametrize('method', METHODS)
def test_plain_vits_are_written_for_timm(tmp_path, method):
    config, checkpoint = saved(tmp_path, METHODS[method])
    out = tmp_path / 'timm.pth'
    output = run(TIMM, config, checkpoint, out)
    line = next(line for line in output.splitlines() if 'create_model' in line)
    names = dict(timm=timm)
    exec(line.strip(), names)
    other = names['model'].eval()
    other.load_state_dict(torch.load(out), strict=True)
    model = load_backbone(config, checkpoint)
    images = torch.randn(2, 3, *model.backbone.img_size)
    with torch.no_grad():
        theirs = other.forward_features(images)
    torch.testing.assert_close(
        theirs[:, 1:], model.extract_regions(images), atol=1e-4, rtol=0
    )
    with pytest.raises(ValueError, match='has no student'):
        run(TIMM, config, checkpoint, out, '--student')


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (small_mocov3(dict(conv_stem=True)), 'MoCoV3.* with conv_stem=True'),
        (classifier(final_norm=False, out_type='raw'), 'with final_norm=False'),
        (classifier(out_type='avg_featmap'), "with out_type='avg_featmap'"),
        (RESNET, 'no equal of ResNet'),
    ],
)
def test_what_timm_lacks_is_refused(tmp_path, model, message):
    config, checkpoint = saved(tmp_path, model)
    with pytest.raises(ValueError, match=message):
        run(TIMM, config, checkpoint, tmp_path / 'timm.pth')
    assert not (tmp_path / 'timm.pth').exists()


@pytest.mark.parametrize('method', METHODS)
def test_the_backbone_alone(tmp_path, method):
    config, checkpoint = saved(tmp_path, METHODS[method])
    alone = tmp_path / 'alone.pth'
    output = run(EXTRACT, checkpoint, alone)
    assert 'backbone.*, the only backbone in it, written' in output
    weights = backbone_weights(checkpoint)
    found = torch.load(alone)['state_dict']
    assert found.keys() == weights.keys()
    whole = load_backbone(config, checkpoint)
    side = whole.backbone.img_size[0]
    images = torch.randn(2, 3, side, side)
    expected = whole.extract_feat(images)
    # As esvit convert writes it
    twice = tmp_path / 'twice.pth'
    prefixes = ('backbone.', 'teacher.backbone.')
    both = {f'{prefix}{n}': v for prefix in prefixes for n, v in weights.items()}
    torch.save(dict(state_dict=both), twice)
    for path in (alone, twice):
        assert torch.equal(load_backbone(config, path).extract_feat(images), expected)
        model = get_model(config, path)
        for name, value in model.backbone.state_dict().items():
            assert torch.equal(value, weights[name]), name
    del both['backbone.ln1.bias'], both['teacher.backbone.ln1.bias']
    torch.save(dict(state_dict=both), twice)
    with pytest.raises(ValueError, match='is not the .* it lacks ln1.bias'):
        get_model(config, twice)
    # What has more than a backbone is no such file.
    torch.save(dict(state_dict={**both, 'neck.a': torch.zeros(1)}), twice)
    with pytest.raises(RuntimeError, match='does not fit'):
        get_model(config, twice)
    with pytest.raises(ValueError, match='has a student and a teacher'):
        load_backbone(config, twice)


def test_a_student_that_there_is_not_is_refused(tmp_path):
    config, checkpoint = saved(tmp_path, METHODS['mocov3'])
    with pytest.raises(ValueError, match='has no student; leave --student out'):
        run('knn.py', config, checkpoint, '--student')


@pytest.mark.slow
@pytest.mark.parametrize('loader', [get_model, load_backbone])
def test_unconverted_checkpoints_say_how_to_convert(tmp_path, golden, loader):
    path = tmp_path / 'released.pth'
    shapes = released_shapes(golden, 'mocov3_vit_s', small=True)
    torch.save(released_checkpoint(shapes), path)
    message = r'MoCo v3.* Convert it first: esvit convert .*released\.pth DST'
    configs = ['mocov3_vit_s', 'mae_lite_tiny']
    for config in configs + ['auto'] * (loader is load_backbone):
        with pytest.raises(ValueError, match=message):
            loader(config, path)
    with pytest.raises(ValueError, match=message):
        run(EXTRACT, path, tmp_path / 'alone.pth')
    # MAE-lite's names
    names = timm.create_model('vit_tiny_patch16_224').state_dict()
    torch.save(dict(model={f'module.model.{n}': v for n, v in names.items()}), path)
    with pytest.raises(ValueError, match='MAE-lite.* Convert it first'):
        loader('mae_lite_tiny', path)
