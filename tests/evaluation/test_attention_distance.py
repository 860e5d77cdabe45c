"""Attention distance and entropy of heads whose attention is known."""

import math

import pytest
import torch
from mmpretrain.models.selfsup import MAEViT, MoCoV3ViT
from support.backbones import BACKBONES, build
from support.frozen import frozen, noise_images

from esvit_plugin.evaluation import (
    BlockAttention,
    attention_spread,
    head_distance,
)
from esvit_plugin.evaluation.attention_distance import patch_attention, patch_grid
from esvit_plugin.evaluation.images import model_inputs

DEIT = BACKBONES['DeiT'][0]
TIMM = BACKBONES['TIMMBackbone'][0]


def mean_of_all_pairs(rows, cols, side):
    """Mean distance of all pairs of patches: each offset as often as it occurs."""
    total = sum(
        (rows - abs(r)) * (cols - abs(c)) * math.hypot(r, c)
        for r in range(1 - rows, rows)
        for c in range(1 - cols, cols)
    )
    return side * total / (rows * cols) ** 2


def test_distances_are_those_of_the_places():
    one_hot = torch.eye(6)
    # Each looks at its right neighbour, the last of a row at the first of it.
    right = torch.zeros(6, 6)
    for row in range(2):
        for col in range(3):
            right[3 * row + col, 3 * row + (col + 1) % 3] = 1
    below = one_hot.roll(3, 0)
    alike = torch.full((6, 6), 1 / 6)
    weights = torch.stack([one_hot, right, below, alike])[None]
    # 2 x 3 patches of 16 x 16 pixels.
    found = head_distance(BlockAttention(weights, 0, (2, 3)), (32, 48))
    known = [0, (16 + 16 + 32) / 3, 16, mean_of_all_pairs(2, 3, 16)]
    assert found.shape == (1, 4) and found[0].tolist() == pytest.approx(known)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['mmpretrain', 'timm'])
def test_uniform_attention_has_the_analytic_values(kind):
    cfg = {**(DEIT if kind == 'mmpretrain' else TIMM), 'img_size': 224}
    backbone = build(cfg)
    blocks = backbone.layers if kind == 'mmpretrain' else backbone.timm_model.blocks
    qkv = blocks[1].attn.qkv
    qkv.weight[:64] = 0
    qkv.bias[:64] = 0
    found = attention_spread(frozen(backbone), noise_images(1, 224))
    assert found.grid == (14, 14) and found.num_images == 1
    distance = mean_of_all_pairs(14, 14, 16)
    assert found.uniform == pytest.approx((distance, math.log(196)))
    assert found.distance[1].tolist() == pytest.approx([distance] * 2)
    assert found.entropy[1].tolist() == pytest.approx([math.log(196)] * 2)
    assert (found.entropy[0] < math.log(196) - 0.1).all()


@torch.no_grad()
def test_heads_that_look_at_their_own_place_are_near():
    # The tokens are their places, one channel each, and the class token none.
    backbone = build({**DEIT, 'pre_norm': False})
    backbone.patch_embed.projection.weight.zero_()
    backbone.patch_embed.projection.bias.zero_()
    backbone.cls_token.zero_()
    backbone.pos_embed.zero_()
    backbone.pos_embed[0, 1:, :16] = torch.eye(16)
    layer = backbone.layers[0]
    layer.ln1.weight.fill_(1)
    layer.ln1.bias.zero_()
    layer.attn.qkv.bias.zero_()
    # Of the two heads the first compares places, the second sees nothing.
    layer.attn.qkv.weight.zero_()
    for start in (0, 32):
        layer.attn.qkv.weight[start : start + 16, :16] = 3 * torch.eye(16)
    found = attention_spread(frozen(backbone), noise_images(2))
    assert found.distance[0, 0] < 0.01 and found.entropy[0, 0] < 0.01
    assert found.distance[0, 1] == pytest.approx(found.uniform[0])
    assert found.uniform == pytest.approx((mean_of_all_pairs(4, 4, 16), math.log(16)))


@torch.no_grad()
@pytest.mark.parametrize(
    'kind', ['VisionTransformer', 'DistilledVisionTransformer', 'no class token']
)
def test_extra_tokens_are_cut_before_the_softmax(kind):
    cfg = dict(DEIT)
    if kind == 'no class token':
        cfg['with_cls_token'] = False
    else:
        cfg['type'] = kind
    model = frozen(build(cfg))
    vit, (_, image) = model.backbone, noise_images(1)[0]
    inputs = model_inputs(model, image)
    attention = next(patch_attention(model, inputs))
    tokens, _ = vit.patch_embed(inputs)
    extra = [vit.cls_token, getattr(vit, 'dist_token', None)]
    tokens = torch.cat([t for t in (*extra, tokens) if t is not None], 1)
    layer = vit.layers[0]
    tokens = layer.ln1(tokens + vit.pos_embed)[0, vit.num_extra_tokens :]
    query, key, _ = layer.attn.qkv(tokens).unflatten(-1, (3, 2, 16)).unbind(1)
    scores = torch.einsum('ihd,jhd->hij', query, key) / 4
    torch.testing.assert_close(attention.weights[0], scores.double().softmax(-1))
    assert attention.grid == (4, 4) and attention.num_extra == 0


@pytest.mark.parametrize('kind', [MAEViT, MoCoV3ViT, 'DINOVisionTransformer'])
def test_classes_derived_from_the_vit_are_known(kind):
    vit, other = build(DEIT), build({**DEIT, 'type': kind})
    other.load_state_dict(vit.state_dict())
    found, expected = (
        attention_spread(frozen(one), noise_images(2)) for one in (other, vit)
    )
    torch.testing.assert_close(found, expected)


def test_the_mean_is_over_all_images():
    model = frozen(build(DEIT))
    shots = noise_images(5)
    whole = attention_spread(model, shots, batch_size=2)
    assert whole.num_images == 5 and whole.distance.shape == (2, 2)
    each = [attention_spread(model, [shot]) for shot in shots]
    for name in ('distance', 'entropy'):
        mean = torch.stack([getattr(one, name) for one in each]).mean(0)
        torch.testing.assert_close(getattr(whole, name), mean, rtol=1e-4, atol=1e-5)


def test_what_has_no_such_attention_is_refused():
    for name in ('EsViTSwin', 'ResNet'):
        model = frozen(build(BACKBONES[name][0]))
        with pytest.raises(ValueError, match=f'is for plain vision .* a {name}'):
            attention_spread(model, noise_images(1))
    rotary = dict(
        type='ViTEVA02',
        arch=DEIT['arch'],
        img_size=64,
        patch_size=16,
        sub_ln=True,
        out_type='raw',
    )
    with pytest.raises(ValueError, match='not all blocks of this ViTEVA02'):
        attention_spread(frozen(build(rotary)), noise_images(1))
    # Padded to 64 pixels, and a single patch.
    model = frozen(build(DEIT))
    for size in (60, 16):
        with pytest.raises(
            ValueError, match=f'Images of {size} x {size} pixels are not'
        ):
            ((path, shot),) = noise_images(1)
            attention_spread(model, [(path, shot[:size, :size])])
    with pytest.raises(ValueError, match='No image could be read'):
        attention_spread(frozen(build(DEIT)), [])


def test_maps_need_not_be_square():
    assert patch_grid(12, 48, 64) == (3, 4)
    with pytest.raises(ValueError, match='11 patches form no map of 48 x 64'):
        patch_grid(11, 48, 64)
