"""Views and regions of every kind of output."""

import pytest
import torch
from mmpretrain.registry import MODELS
from support.backbones import BACKBONES
from support.training import small_model

from esvit_plugin.models.view_and_regions import split_features

TINY = dict(embed_dim=16, depths=(1, 1), num_heads=(1, 2), img_size=64, window_size=4)
TIMM = {
    # Class token and patch tokens; a map with channels last; ordinary maps.
    'tokens': (BACKBONES['TIMMBackbone'][0], 32, 16),
    'channels-last': (
        dict(type='TIMMBackbone', model_name='swin_tiny_patch4_window7_224', **TINY),
        32,
        64,
    ),
    'map': (dict(type='TIMMBackbone', model_name='resnet10t'), 512, 4),
    'pyramid': (
        dict(type='TIMMBackbone', model_name='resnet10t', features_only=True),
        512,
        4,
    ),
    'channels-last pyramid': (
        dict(
            type='TIMMBackbone',
            model_name='swin_tiny_patch4_window7_224',
            features_only=True,
            **TINY,
        ),
        32,
        64,
    ),
}


@pytest.mark.parametrize('kind', TIMM)
def test_models_of_timm(kind):
    cfg, width, positions = TIMM[kind]
    backbone = MODELS.build(cfg)
    backbone.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        outputs = backbone(x)
        view, regions = split_features(backbone, outputs)
    assert view.shape == (2, width)
    assert regions.shape == (2, positions, width)
    last = outputs[-1]
    if kind == 'tokens':
        assert torch.equal(view, last[:, 0])
        assert torch.equal(regions, last[:, 1:])
    elif kind.startswith('channels-last'):
        assert torch.equal(regions[:, 9], last[:, 1, 1])
    else:
        assert torch.equal(regions[:, 5 if positions == 16 else 3], last[:, :, 1, 1])


def test_the_class_token_is_the_view():
    backbone = MODELS.build(BACKBONES['DeiT'][0])
    tokens = backbone(torch.randn(2, 3, 64, 64))[-1]
    view, regions = split_features(backbone, (tokens,))
    assert torch.equal(view, tokens[:, 0])
    assert torch.equal(regions, tokens[:, 1:])


def test_a_map_of_a_transformer_has_its_mean_as_view():
    cfg = dict(BACKBONES['DeiT'][0], out_type='featmap')
    backbone = MODELS.build(cfg)
    view, regions = split_features(backbone, backbone(torch.randn(2, 3, 64, 64)))
    torch.testing.assert_close(view, regions.mean(1))


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('DeiT', dict(out_type='cls_token'), r"\(2, 32\). Set .*out_type='raw'"),
        (
            'ConvNeXt',
            dict(gap_before_final_norm=True),
            r'\(2, 64\). Set model.backbone.gap_before_final_norm=False',
        ),
    ],
)
def test_an_output_that_does_not_fit_is_refused(name, options, message):
    backbone = MODELS.build({**BACKBONES[name][0], **options})
    with pytest.raises(ValueError, match=message):
        split_features(backbone, backbone(torch.randn(2, 3, 64, 64)))


def test_tokens_of_unknown_meaning_are_refused():
    with pytest.raises(ValueError, match=r'num_extra_tokens, but got \(2, 5, 8\)'):
        split_features(torch.nn.Identity(), torch.zeros(2, 5, 8))
    with pytest.raises(ValueError, match='but got <class'):
        split_features(torch.nn.Identity(), [dict()])


def test_esvit_gives_features_of_teacher_and_student():
    model = MODELS.build(small_model())
    model.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for source, backbone in (
            ('teacher', model.teacher['backbone']),
            ('student', model.backbone),
        ):
            view, regions = model.encode(x, source)
            assert torch.equal(view, model.extract_feat(x, source))
            assert torch.equal(regions, model.extract_regions(x, source))
            torch.testing.assert_close(
                backbone(x)[-1].flatten(2).transpose(1, 2), regions
            )
    with pytest.raises(ValueError, match="got 'both'"):
        model.encode(x, 'both')
