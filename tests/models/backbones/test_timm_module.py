"""Models of timm in place of configs of them."""

import copy

import pytest
import timm
import torch
from mmpretrain.registry import MODELS
from support.training import random_views, with_backbone

import esvit_plugin
from esvit_plugin.evaluation import FrozenBackbone

SWIN = dict(
    model_name='swin_tiny_patch4_window7_224',
    embed_dim=16,
    depths=(1, 1),
    num_heads=(1, 2),
    img_size=64,
    window_size=4,
    strict_img_size=False,
)
MODELS_OF_TIMM = {
    'Swin': (SWIN, 32),
    'ViT': (
        dict(
            model_name='vit_tiny_patch16_224',
            embed_dim=32,
            depth=2,
            num_heads=2,
            img_size=64,
            dynamic_img_size=True,
        ),
        32,
    ),
    'ResNet': (dict(model_name='resnet10t'), 512),
    'pyramid': (dict(SWIN, features_only=True), 32),
}


@pytest.mark.parametrize('kind', MODELS_OF_TIMM)
def test_a_model_of_timm_works_as_its_config_does(kind):
    options, width = MODELS_OF_TIMM[kind]
    module = timm.create_model(**options)
    weights = copy.deepcopy(module.state_dict())
    # By the config, with the same weights.
    cfg = with_backbone(dict(type='TIMMBackbone', **options), width)
    expected = MODELS.build(cfg)
    expected.init_weights()
    found = MODELS.build({**copy.deepcopy(cfg), 'backbone': module})
    found.init_weights()
    for name, value in found.backbone.timm_model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    missing = expected.load_state_dict(found.state_dict(), strict=True)
    assert not missing.missing_keys
    views = random_views()
    losses = []
    for model in (found, expected):
        model.eval()
        losses.append(model.loss(views))
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][name])
    (losses[0]['loss_view'] + losses[0]['loss_region']).backward()
    grads = {n: p.grad for n, p in found.backbone.named_parameters()}
    assert not [name for name, grad in grads.items() if grad is None]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for mine, theirs in zip(found.encode(images), expected.encode(images)):
            torch.testing.assert_close(mine, theirs)
        frozen = FrozenBackbone(timm_copy(found), found.data_preprocessor)
        view, _ = found.encode(images)
        torch.testing.assert_close(frozen.extract_feat(images), view)


def timm_copy(model):
    """The timm model of a teacher."""
    return copy.deepcopy(model.get_backbone().timm_model)


def test_get_model_takes_one():
    options, width = MODELS_OF_TIMM['ViT']
    cfg = with_backbone(timm.create_model(**options), width)
    model = esvit_plugin.get_model(cfg)
    assert model.encode(torch.randn(1, 3, 64, 64))[1].shape == (1, 16, 32)
    image = torch.zeros(1, 3, 80, 80, dtype=torch.uint8)
    assert esvit_plugin.prepare_images(image, model).shape == (1, 3, 64, 64)
