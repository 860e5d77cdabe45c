"""``with_cp`` of mmpretrain's backbones under a runner."""

import pytest
import torch
from mmpretrain.registry import MODELS

from esvit_plugin.engine.recomputing import recompute_without_reentry

BACKBONES = {
    'ResNet': dict(depth=18, norm_eval=True),
    'ConvNeXt': dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8])),
    'SwinTransformerV2': dict(
        arch=dict(
            embed_dims=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            extra_norm_every_n_blocks=0,
        ),
        img_size=64,
        window_size=2,
        drop_path_rate=0.0,
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_gradients_are_those_of_activations_that_are_kept(name):
    cfg = dict(type=f'mmpretrain.{name}', **BACKBONES[name])
    plain, again = MODELS.build(cfg), MODELS.build(dict(cfg, with_cp=True))
    again.load_state_dict(plain.state_dict(), strict=False)
    recompute_without_reentry(again)
    images, gradients = torch.randn(2, 3, 64, 64), []
    for model in (plain, again):
        # The parameters' gradients alone, which the old way cannot give.
        outs = [model(images * value)[-1] for value in (1, 2)]
        loss = sum(out.square().mean() for out in outs)
        params = list(model.parameters())
        gradients.append(torch.autograd.grad(loss, params, allow_unused=True))
    torch.testing.assert_close(*gradients)
