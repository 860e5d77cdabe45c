"""Weights of a file are kept where ``init_cfg`` is a list with others before them."""

import pytest
import torch
from mmpretrain.registry import MODELS
from support.training import SMALL_SWIN

from esvit_plugin.type_names import loads_weights

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
VIT = dict(arch=ARCH, img_size=32, out_type='raw')
BACKBONES = {
    'DINOVisionTransformer': VIT,
    'MoCoV3VisionTransformer': VIT | dict(position='learned'),
    'MAELiteViT': dict(arch=ARCH, img_size=32),
    'EsViTSwin': SMALL_SWIN | dict(use_abs_pos_embed=True),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_no_weights_are_drawn_over_those_of_a_file(name, tmp_path):
    cfg = dict(BACKBONES[name], type=name)
    weights = MODELS.build(cfg).state_dict()
    for value in weights.values():
        if value.is_floating_point():
            value.uniform_()
    path = str(tmp_path / 'weights.pth')
    torch.save(weights, path)
    init_cfg = [
        dict(type='Constant', layer='Linear', val=2.0),
        dict(type='Pretrained', checkpoint=path),
    ]
    backbone = MODELS.build(dict(cfg, init_cfg=init_cfg))
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_lists_load_weights_too():
    pretrained, other = dict(type='Pretrained', checkpoint='a'), dict(type='Normal')
    assert loads_weights(pretrained) and loads_weights([other, pretrained])
    for cfg in (None, [], other, [other]):
        assert not loads_weights(cfg)
