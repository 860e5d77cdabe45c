"""Backbones from the checkpoints of several programs."""

from unittest import mock

import cv2
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from support import released_layouts
from support.backbones import BACKBONES
from support.released_layouts import bare, random_weights, without
from support.training import small_model
from timm.models.swin_transformer import SwinTransformer

from esvit_plugin import get_model, load_backbone, prepare_images
from esvit_plugin.evaluation.images import open_images
from esvit_plugin.evaluation.loading import network_of
from esvit_plugin.models.conversion.backbones import backbone_from_released
from esvit_plugin.models.view_and_regions import split_features

VIT = {**BACKBONES['DeiT'][0], 'out_type': 'cls_token'}
SWIN = {**BACKBONES['EsViTSwin'][0], 'type': 'SwinTransformer', 'window_size': 2}
IMAGES = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def classifier(backbone, width=32, **others):
    head = dict(type='LinearClsHead', num_classes=5, in_channels=width)
    return dict(
        model=dict(type='ImageClassifier', backbone=backbone, head=head), **others
    )


def saved(tmp_path, cfg, name='model'):
    """Paths of a config and of random weights of its model, and that model."""
    config, checkpoint = tmp_path / f'{name}.py', tmp_path / f'{name}.pth'
    Config(cfg).dump(str(config))
    model = MODELS.build(cfg['model'])
    model.init_weights()
    model.eval()
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return config, checkpoint, model


def normalised(model, images=IMAGES):
    samples = [DataSample()] * len(images)
    return model.data_preprocessor(dict(inputs=images, data_samples=samples))['inputs']


@pytest.mark.parametrize('source', ['teacher', 'student'])
def test_an_esvit_gives_its_teacher_or_student(tmp_path, source):
    config, checkpoint, model = saved(tmp_path, dict(model=small_model()))
    torch.nn.init.normal_(model.backbone.norm3.weight)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    found = load_backbone(config, checkpoint, student=source == 'student')
    assert found.network == source and not found.backbone.training
    images = normalised(found)
    with torch.no_grad():
        view, regions = model.encode(images, source)
    torch.testing.assert_close(found.extract_feat(images), view)
    torch.testing.assert_close(found.extract_regions(images), regions)
    assert not any(param.requires_grad for param in found.parameters())


@pytest.mark.parametrize(
    ('backbone', 'width'),
    [(VIT, 32), (SWIN, 128), BACKBONES['ResNet'], BACKBONES['SwinV2']],
)
def test_a_classifier_of_mmpretrain_gives_its_backbone(tmp_path, backbone, width):
    means = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
    cfg = classifier(backbone, width, data_preprocessor=means)
    config, checkpoint, model = saved(tmp_path, cfg)
    found = load_backbone(config, checkpoint)
    images = normalised(found)
    expected = IMAGES.flip(1) - torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    expected = expected / torch.tensor([4.0, 5.0, 6.0]).view(3, 1, 1)
    torch.testing.assert_close(images, expected)
    with torch.no_grad():
        last = model.backbone(images)[-1]
    view = last if last.dim() == 2 else last.mean((2, 3))
    torch.testing.assert_close(found.extract_feat(images), view)
    assert found.network == 'backbone'
    assert found.extract_regions(images).shape[::2] == (2, width)


def test_masked_image_modelling_sees_the_whole_image(tmp_path):
    backbone = {**BACKBONES['DeiT'][0], 'type': 'MAEViT'}
    cfg = dict(
        model=dict(
            type='MAE',
            backbone=backbone,
            neck=dict(
                type='MAEPretrainDecoder',
                num_patches=16,
                embed_dim=32,
                decoder_embed_dim=16,
                decoder_depth=1,
                decoder_num_heads=2,
            ),
            head=dict(
                type='MAEPretrainHead',
                loss=dict(type='PixelReconstructionLoss', criterion='L2'),
            ),
        )
    )
    config, checkpoint, model = saved(tmp_path, cfg)
    found = load_backbone(config, checkpoint)
    images = normalised(found)
    with torch.no_grad():
        view, regions = split_features(model.backbone, model.extract_feat(images))
    torch.testing.assert_close(found.extract_feat(images), view)
    torch.testing.assert_close(found.extract_regions(images), regions)


def test_a_size_that_a_model_does_not_take_is_named(tmp_path):
    model = timm.create_model('vit_tiny_patch16_224')
    torch.save(model.state_dict(), tmp_path / 'vit.pth')
    found = load_backbone('timm::vit_tiny_patch16_224', tmp_path / 'vit.pth')
    images = torch.randn(1, 3, 64, 64)
    last_blocks = found.feature_function('last_blocks')
    for call in (found.extract_feat, found.extract_regions, last_blocks):
        with pytest.raises(ValueError, match='no.* take images of 64 x 64 px.*config'):
            call(images)


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize(
    ('name', 'mean'), [('resnet10t', 123.675), ('vit_tiny_patch16_224', 127.5)]
)
def test_a_model_of_timm(tmp_path, name, mean, ending):
    model = timm.create_model(name, num_classes=5)
    model.eval()
    path = tmp_path / f'weights.{ending}'
    if ending == 'pth':
        torch.save(dict(state_dict=model.state_dict(), arch=name), path)
    else:
        safetensors.torch.save_file(model.state_dict(), path)
    found = load_backbone(f'timm::{name}', path)
    assert found.data_preprocessor.mean.flatten()[0] == pytest.approx(mean)
    images = normalised(found, torch.randint(256, (2, 3, 224, 224)))
    with torch.no_grad():
        feats = model.forward_features(images)
        expected = model.forward_head(feats, pre_logits=True)
    torch.testing.assert_close(found.extract_feat(images), expected)


def test_a_plain_resnet_is_recognised(tmp_path):
    model = torchvision.models.resnet18(num_classes=5)
    model.eval()
    path = tmp_path / 'resnet.pth'
    torch.save({f'module.{n}': v for n, v in model.state_dict().items()}, path)
    found = load_backbone('auto', path)
    images = normalised(found)
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(found.extract_feat(images), model(images))


def test_a_plain_swin_is_recognised(tmp_path):
    path = tmp_path / 'swin.pth'
    layout = without(released_layouts.layout('swin'), 'head', 'head_dense')
    weights = {bare(n): v for n, v in random_weights(layout).items()}
    width = len(weights['norm.weight'])
    head = {'head.weight': torch.zeros(5, width), 'head.bias': torch.zeros(5)}
    for extra, eps in (({}, 1e-6), (head, 1e-5)):
        torch.save(dict(model={**weights, **extra}), path)
        found = load_backbone('auto', path)
        last = f'norm{found.backbone.num_layers - 1}'
        assert getattr(found.backbone, last).eps == eps
        images = normalised(found)
        cfg, converted = backbone_from_released(weights)
        plain = MODELS.build({**cfg, 'norm_cfg': dict(type='LN', eps=eps)})
        plain.load_state_dict(converted)
        plain.eval()
        with torch.no_grad():
            expected = plain(images)[-1].mean((2, 3))
        torch.testing.assert_close(found.extract_feat(images), expected)


def test_a_plain_swin_of_timm_is_recognised(tmp_path):
    model = SwinTransformer(
        64, embed_dim=16, depths=(1, 1, 1), num_heads=(1, 2, 4), window_size=4
    )
    model.eval()
    path = tmp_path / 'swin.pth'
    torch.save(model.state_dict(), path)
    found = load_backbone('auto', path)
    images = normalised(found)
    with torch.no_grad():
        expected = model.forward_features(images).mean((1, 2))
    torch.testing.assert_close(
        found.extract_feat(images), expected, atol=1e-5, rtol=1e-4
    )


def test_plain_weights_fit_a_config_too(tmp_path):
    config, _, _ = saved(tmp_path, classifier(VIT))
    model = timm.models.VisionTransformer(
        64, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, num_classes=5
    )
    model.eval()
    path = tmp_path / 'plain.pth'
    torch.save(dict(model=model.state_dict()), path)
    found = load_backbone(config, path)
    images = normalised(found)
    with torch.no_grad():
        expected = model.forward_features(images)[:, 0]
    torch.testing.assert_close(found.extract_feat(images), expected)
    # ImageNet's, as the config has none.
    assert found.data_preprocessor.mean.flatten()[0] == pytest.approx(123.675)


def test_names_of_old_checkpoints_are_known(tmp_path):
    cfg = classifier({**SWIN, 'type': 'EsViTSwin'}, 128)
    config, checkpoint, model = saved(tmp_path, cfg)
    weights = model.state_dict()
    for part in ('weight', 'bias'):
        weights[f'backbone.norm.{part}'] = weights.pop(f'backbone.norm3.{part}')
    weights['backbone.stages.0.blocks.0.attn.attn_mask'] = torch.zeros(4, 16, 16)
    torch.save(dict(state_dict=weights), checkpoint)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.backbone(images)[-1].mean((2, 3))
    found = load_backbone(config, checkpoint).extract_feat(images)
    torch.testing.assert_close(found, expected)


def test_last_blocks_are_those_of_probes(tmp_path):
    config, checkpoint, model = saved(tmp_path, classifier(SWIN, 128))
    found = load_backbone(config, checkpoint)
    images = torch.randn(1, 3, 64, 64)
    feats = found.feature_function('last_blocks', 2)(images)
    last = model.backbone(images)[-1].mean((2, 3))
    assert feats.shape == (1, 64 + 128)
    torch.testing.assert_close(feats[:, 64:], last)
    with pytest.raises(ValueError, match="must be one of .* got 'all'"):
        found.feature_function('all')


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused(tmp_path):
    config, checkpoint, model = saved(tmp_path, classifier(VIT))
    other, _, _ = saved(tmp_path, classifier(SWIN, 128), 'other')
    with pytest.raises(
        RuntimeError, match='missing, e.g. .*left over, e.g. cls_tok.*auto'
    ):
        load_backbone(other, checkpoint)
    weights = model.state_dict()
    lost = weights.pop('backbone.ln1.bias')
    torch.save(dict(state_dict=weights), checkpoint)
    with pytest.raises(RuntimeError, match=r'model.py: 1 missing, e.g. ln1.bias'):
        load_backbone(config, checkpoint)
    torch.save(dict(state_dict={**weights, 'backbone.ln1.bias': lost[:3]}), checkpoint)
    with pytest.raises(
        RuntimeError, match=r'1 of another shape, e.g. ln1.bias \(3,\) inst'
    ):
        load_backbone(config, checkpoint)
    with pytest.raises(ValueError, match='names of OpenMMLab .*give the config'):
        load_backbone('auto', checkpoint)
    resnet = timm.create_model('resnet10t').state_dict()
    torch.save(resnet, checkpoint)
    with pytest.raises(RuntimeError, match='Give the name of the model'):
        load_backbone('timm::resnet18', checkpoint)
    with pytest.raises(ValueError, match='no ResNet of .* timm::NAME, instead of auto'):
        load_backbone('auto', checkpoint)
    plain = torchvision.models.resnet18().state_dict()
    torch.save({n: v for n, v in plain.items() if n != 'conv1.weight'}, checkpoint)
    with pytest.raises(RuntimeError, match='1 missing, e.g. conv1.weight. Give the c'):
        load_backbone('auto', checkpoint)
    torch.save(dict(model=dict(a=torch.zeros(1))), checkpoint)
    with pytest.raises(ValueError, match='not the weights of a backbone.*timm::NAME'):
        load_backbone('auto', checkpoint)


def test_weights_of_another_window_are_refused(tmp_path):
    arch = dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2])
    small = dict(type='EsViTSwin', arch=arch, img_size=64, out_indices=(1,))
    paths = {}
    for window in (4, 8):
        cfg = classifier({**small, 'window_size': window}, 16)
        paths[window] = saved(tmp_path, cfg, f'w{window}')[:2]
    load_backbone(*paths[4])
    with pytest.raises(RuntimeError, match='7 x 7 offsets, .* 15 x 15'):
        load_backbone(paths[8][0], paths[4][1])


@pytest.mark.parametrize('width', [192, 320])
def test_vits_that_are_none_of_the_programs_are_refused(tmp_path, width):
    model = timm.models.VisionTransformer(
        64,
        embed_dim=width,
        depth=1,
        num_heads=4,
        class_token=width != 192,
        global_pool='avg',
    )
    torch.save(model.state_dict(), tmp_path / 'vit.pth')
    message = 'heads of a ViT of width 320' if width == 320 else 'ViT of 16 positions'
    with pytest.raises(ValueError, match=message):
        load_backbone('auto', tmp_path / 'vit.pth')


@pytest.mark.slow
def test_models_that_there_are_not_are_named(tmp_path):
    esvit, checkpoint, _ = saved(tmp_path, dict(model=small_model()))
    config, _, _ = saved(tmp_path, classifier(VIT), 'vit')
    with pytest.raises(ValueError, match='has a student and a teacher'):
        load_backbone(config, checkpoint)
    for given in (config, 'timm::resnet10t', 'auto'):
        with pytest.raises(ValueError, match='has no student'):
            load_backbone(given, checkpoint, student=True)
    with pytest.raises(ValueError, match='no model timm::resnet11; timm.list_models'):
        load_backbone('timm::resnet11', checkpoint)
    with pytest.raises(ValueError, match="no config of the name 'resnet11'"):
        load_backbone('resnet11', checkpoint)
    with pytest.raises(ValueError, match='cannot be read as PACKAGE::PATH'):
        load_backbone('mmpretrain::resnet/resnet11.py', checkpoint)
    with pytest.raises(FileNotFoundError, match='no checkpoint nowhere.pth'):
        load_backbone(esvit, 'nowhere.pth')
    Config(dict(model=dict(type='LinearClsHead'))).dump(str(config))
    with pytest.raises(ValueError, match='LinearClsHead, has no backbone'):
        load_backbone(config, checkpoint)
    damaged = tmp_path / 'damaged.safetensors'
    damaged.write_bytes(b'no weights')
    with pytest.raises(ValueError, match='damaged or no .safetensors'):
        load_backbone('timm::resnet10t', damaged)
    network = {'module.conv1.weight': torch.zeros(1)}
    released = dict(student=network, teacher=network, dino_loss={})
    torch.save(released, checkpoint)
    with pytest.raises(ValueError, match='Convert it first: esvit convert '):
        load_backbone('auto', checkpoint)


def test_packages_that_are_missing_are_not_installed():
    install = mock.patch(
        'mmengine.hub.hub.install_package', side_effect=AssertionError('installs')
    )
    missing = mock.patch('esvit_plugin.apis.is_installed', return_value=False)
    with install, missing, pytest.raises(ValueError, match='mmrazor, which is not in'):
        network_of('mmrazor::vanilla/a.py')
    with install, pytest.raises(ValueError, match='nothing, which is not installed'):
        network_of('nothing::a.py')


@pytest.mark.slow
def test_configs_are_found_by_the_names_of_mmpretrain():
    name = 'swin-tiny_16xb64_in1k'
    for config in (name, f'mmpretrain::swin_transformer/{name}.py'):
        assert network_of(config) == 'backbone'
        model = get_model(config)
        # The normalisation stands beside the model.
        assert model.data_preprocessor.mean.flatten()[0] == pytest.approx(123.675)
    assert network_of('mocov3_vit_s') == 'backbone'
    assert network_of('esvit_swin_t', student=True) == 'student'


@pytest.mark.parametrize(
    ('name', 'width', 'plain'),
    [
        ('supervised_swin_t', 768, 'swin_tiny_patch4_window7_224'),
        ('supervised_deit_s', 384, 'deit_small_patch16_224'),
        ('supervised_resnet50', 2048, 'resnet50'),
    ],
)
@pytest.mark.slow
def test_the_supervised_models_take_both_forms_of_their_checkpoints(
    tmp_path, name, width, plain
):
    path = tmp_path / 'checkpoint.pth'
    model = get_model(name)
    torch.save(dict(state_dict=model.state_dict()), path)
    found = load_backbone(name, path)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(1, 3, 224, 224))).float()
    with torch.no_grad():
        last = model.extract_feat(images, stage='backbone')[-1]
    view = last if last.dim() == 2 else last.mean((2, 3))
    torch.testing.assert_close(found.extract_feat(images), view)
    assert view.shape == (1, width)
    theirs = timm.create_model(plain)
    theirs.eval()
    torch.save(theirs.state_dict(), path)
    found = load_backbone(name, path)
    with torch.no_grad():
        feats = theirs.forward_features(images)
        expected = theirs.forward_head(feats, pre_logits=True)
    torch.testing.assert_close(
        found.extract_feat(images), expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize('kind', ['EsViT', 'classifier'])
def test_images_of_a_camera_are_read_as_in_the_training(tmp_path, kind):
    cfg = dict(model=small_model()) if kind == 'EsViT' else classifier(VIT)
    load = dict(type='LoadImage', bit_depth=12)
    loader = dict(dataset=dict(type='UnlabeledFolder', pipeline=[load]))
    config, checkpoint, _ = saved(tmp_path, dict(cfg, train_dataloader=loader))
    path = str(tmp_path / 'camera.png')
    dark = np.random.default_rng(0).integers(2**12, size=(90, 90, 3), dtype=np.uint16)
    cv2.imwrite(path, dark)
    model = load_backbone(config, checkpoint)
    assert model.bit_depth == load_backbone(str(config), checkpoint).bit_depth == 12
    found = prepare_images(path, model)
    torch.testing.assert_close(found, prepare_images(path, model, bit_depth=12))
    assert found.mean() > prepare_images(path, model, bit_depth=16).mean() + 1
    ((_, image),) = open_images([path], 64, model.bit_depth)
    torch.testing.assert_close(prepare_images(image, model, resize=False), found)
