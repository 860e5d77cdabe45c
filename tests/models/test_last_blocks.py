"""Features of the last blocks."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from PIL import Image
from support.backbones import BACKBONES
from support.frozen import frozen

from esvit_plugin.datasets import ImageFiles
from esvit_plugin.evaluation.feature_file import write_features
from esvit_plugin.models.last_blocks import LastBlocks, pool_last_blocks
from esvit_plugin.models.view_and_regions import split_features


@pytest.mark.parametrize('name', BACKBONES)
def test_last_blocks_of_every_backbone(name):
    cfg, width = BACKBONES[name]
    backbone = MODELS.build(cfg)
    backbone.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        with LastBlocks(backbone, 2) as last:
            view, _ = split_features(backbone, backbone(x))
        # The last block is what the network returns, pooled.
        torch.testing.assert_close(last.features()[:, -width:], view)
        torch.testing.assert_close(pool_last_blocks(backbone, x, 2), last.features())
    blocks = {'EsViTSwin': 64 + 128, 'ViL': 16 + 32, 'CvT': 16 + 32, 'DeiT': 2 * 32}
    assert last.features().shape == (2, blocks.get(name, width))
    assert not backbone._forward_hooks


def test_class_tokens_and_the_mean_of_patches():
    backbone, width = BACKBONES['DeiT']
    vit = MODELS.build(backbone)
    vit.eval()
    x = torch.rand(2, 3, 64, 64)
    tokens = vit(x)[-1]  # normalised
    wanted = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], -1)
    torch.testing.assert_close(pool_last_blocks(vit, x, 1, True), wanted)
    both = pool_last_blocks(vit, x, 2, True)
    torch.testing.assert_close(both[:, width:], wanted)
    torch.testing.assert_close(both[:, :width], pool_last_blocks(vit, x, 2)[:, :width])
    for name in ('EsViTSwin', 'ResNet'):
        with pytest.raises(ValueError, match='patch_mean=True .* this (EsViTS|ResN)'):
            LastBlocks(MODELS.build(BACKBONES[name][0]), 1, True)


def test_a_vit_without_final_norm():
    cfg = dict(BACKBONES['DeiT'][0], final_norm=False, out_type='avg_featmap')
    vit = MODELS.build(cfg)
    vit.eval()
    x = torch.rand(2, 3, 64, 64)
    tokens = []
    vit.layers[-1].register_forward_hook(lambda _m, _i, out: tokens.append(out))
    found = pool_last_blocks(vit, x, 1, True)
    wanted = torch.cat([tokens[0][:, 0], tokens[0][:, 1:].mean(1)], -1)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('name', ['EsViTSwin', 'CvT'])
def test_stages_need_their_last_norm_for_the_last_blocks_alone(name, tmp_path):
    cfg = dict(BACKBONES[name][0], out_indices=(2,))
    message = rf'{name}: .* need the last norm; add 3 to out_indices=\(2,\)'
    with pytest.raises(ValueError, match=message):
        LastBlocks(MODELS.build(cfg), 1)
    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    images = ImageFiles([str(tmp_path / 'a.png')], 64)
    out = str(tmp_path / 'features.npz')
    write_features(frozen(cfg), images, out, keys=('pooled',), num_workers=0)
    with np.load(out) as features:
        assert features['pooled'].shape[0] == 1
