import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import TIMMBackbone
from mmpretrain.registry import MODELS
from support.backbones import BACKBONES, SHIFTED, build
from timm.models.swin_transformer import SwinTransformer

from esvit_plugin.evaluation import has_attention, last_attention

SWIN, CVT, DEIT = (BACKBONES[name][0] for name in ('EsViTSwin', 'CvT', 'DeiT'))
SIZES = [(256, 256), (96, 160), (32, 64)]
VIL = {**BACKBONES['ViL'][0], 'window_size': 2}


def run(backbone, images):
    """Attention, and what went into and came out of the last block's attention."""
    last = [m for name, m in backbone.named_modules() if name.endswith('.attn')][-1]
    call = {}

    def keep(_module, args, out):
        call.update(args=args, out=out)

    handle = last.register_forward_hook(keep)
    attention = last_attention(backbone, images)
    handle.remove()
    return attention, last, call['args'], call['out']


def project(weights, value, proj):
    """Attention output (B, N, C) from weights and values (B, N, C)."""
    value = value.unflatten(-1, (weights.shape[1], -1)).transpose(1, 2)
    return proj((weights @ value).transpose(1, 2).flatten(2))


def values(linear, x):
    """The last third of query, key and value."""
    return F.linear(x, linear.weight.chunk(3)[2], linear.bias.chunk(3)[2])


@pytest.mark.parametrize(
    ('cfg', 'size'),
    [
        *((cfg, size) for cfg in (SWIN, SHIFTED) for size in SIZES),
        (BACKBONES['SwinV2'][0], (128, 96)),
        # mmpretrain's own does not shift a map of one window.
        ({**SHIFTED, 'type': 'SwinTransformer', 'img_size': 128}, (128, 256)),
    ],
)
@torch.no_grad()
def test_weights_give_the_output_of_swin(cfg, size):
    attention, attn, (x, shape), out = run(build(cfg), torch.randn(2, 3, *size))
    assert attention.grid == tuple(shape) and attention.num_extra == 0
    inner = attn.w_msa
    bias = inner.v_bias if hasattr(inner, 'v_bias') else inner.qkv.bias.chunk(3)[2]
    value = F.linear(x, inner.qkv.weight.chunk(3)[2], bias)
    # Padding is zero, so its value is the bias, and it takes what a row lacks of 1.
    rest = 1 - attention.positions.sum(-1, keepdim=True)
    padding = rest.transpose(1, 2) * bias.view(1, 1, inner.num_heads, -1)
    merged = attention.positions @ value.unflatten(-1, (inner.num_heads, -1)).transpose(
        1, 2
    )
    merged = merged.transpose(1, 2) + padding
    torch.testing.assert_close(inner.proj(merged.flatten(2)), out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('cfg', 'size'),
    [
        (VIL, (128, 128)),
        (VIL, (96, 160)),
        ({**VIL, 'num_global_tokens': (1, 1, 1, 2)}, (128, 96)),
        ({**VIL, 'num_chunk_stages': 4}, (256, 256)),
        ({**VIL, 'num_chunk_stages': 4, 'num_global_tokens': [1] * 4}, (256, 192)),
        (DEIT, (64, 64)),
        (DEIT, (128, 96)),
        ({**DEIT, 'with_cls_token': False, 'out_type': 'featmap'}, (64, 96)),
    ],
)
@torch.no_grad()
def test_weights_give_the_output_of_vil_and_vit(cfg, size):
    attention, attn, args, out = run(build(cfg), torch.randn(2, 3, *size))
    stride = 32 if cfg['type'] == 'ViL' else 16
    assert attention.grid == tuple(side // stride for side in size)
    assert attention.weights.shape[-1] == attention.num_extra + np.prod(attention.grid)
    torch.testing.assert_close(
        attention.weights.sum(-1), torch.ones(()).expand(attention.weights.shape[:-1])
    )
    mine = project(attention.weights, values(attn.qkv, args[0]), attn.proj)
    torch.testing.assert_close(mine, out, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_weights_give_the_output_of_cvt():
    attention, attn, (x,), out = run(build(CVT), torch.randn(2, 3, 256, 128))
    x = attn.conv_norm(attn.conv(x.permute(0, 3, 1, 2))).flatten(2).transpose(1, 2)
    mine = project(attention.positions, values(attn.qkv, x), attn.proj)
    torch.testing.assert_close(mine, out.flatten(1, 2), rtol=1e-4, atol=1e-4)


def plain_windows(query, key, side, shift, scale, bias):
    """Window attention between the positions of a padded map, one pair at a time.

    ``query`` and ``key`` are (H, W, heads, d), ``bias`` a table or None.
    """
    height, width, heads, _ = query.shape
    places = [(r, c) for r in range(height) for c in range(width)]

    def moved(place):
        return (place[0] - shift) % height, (place[1] - shift) % width

    scores = torch.full((heads, len(places), len(places)), -torch.inf)
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            (ra, ca), (rb, cb) = moved(a), moved(b)
            same_window = (ra // side, ca // side) == (rb // side, cb // side)
            # Of what the shift brought together from two sides, each sees its own.
            wrapped = (a[0] < shift, a[1] < shift) != (b[0] < shift, b[1] < shift)
            if not same_window or wrapped:
                continue
            score = (query[a] * key[b]).sum(-1) * scale
            if bias is not None:
                row = (ra - rb + side - 1) * (2 * side - 1) + ca - cb + side - 1
                score = score + bias[row]
            scores[:, i, j] = score
    weights = scores.softmax(-1).unflatten(2, (height, width))
    return weights.unflatten(1, (height, width))


@pytest.mark.parametrize('size', [(256, 256), (96, 160)])
@torch.no_grad()
def test_shifted_windows_are_those_of_plain_loops(size):
    attention, attn, (x, (height, width)), _ = run(
        build(SHIFTED), torch.randn(1, 3, *size)
    )
    assert attn.shift_size == 2
    inner, side = attn.w_msa, 4
    x = x.view(height, width, -1)
    x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    query, key, _ = inner.qkv(x).unflatten(-1, (3, inner.num_heads, -1)).unbind(2)
    table = inner.relative_position_bias_table
    plain = plain_windows(query, key, side, 2, query.shape[-1] ** -0.5, table)
    plain = plain[:, :height, :width, :height, :width].flatten(3).flatten(1, 2)
    torch.testing.assert_close(attention.positions[0], plain)
    assert (attention.positions == 0).any()


@pytest.mark.parametrize('size', [(256, 128), (160, 192)])
@torch.no_grad()
def test_windows_of_cvt_are_those_of_plain_loops(size):
    attention, attn, (x,), _ = run(build(CVT), torch.randn(1, 3, *size))
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % 4, 0, -height % 4))
    x = attn.conv_norm(attn.conv(x.permute(0, 3, 1, 2)))[0].permute(1, 2, 0)
    query, key, _ = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1)).unbind(2)
    plain = plain_windows(query, key, 4, 0, x.shape[-1] ** -0.5, None)
    plain = plain[:, :height, :width, :height, :width].flatten(3).flatten(1, 2)
    torch.testing.assert_close(attention.positions[0], plain)


def test_training_goes_on_as_before():
    backbone = build(CVT)
    backbone.train()
    images = torch.randn(2, 3, 128, 128)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    last_attention(backbone, images)
    after = backbone.state_dict()
    # One forward pass: batch norms saw the images once.
    name = 'stages.3.blocks.0.attn.conv_norm.num_batches_tracked'
    assert after[name] == before[name] + 1
    assert backbone.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.modules())


def test_compiled_backbones_are_known():
    arch = dict(embed_dims=[8], depths=[1], num_heads=[2])
    backbone = build(dict(type='CvT', arch=arch, window_size=4, out_indices=(0,)))
    images = torch.randn(1, 3, 32, 32)
    expected = last_attention(backbone, images)
    torch._dynamo.reset()
    backbone.compile(backend='eager')
    with torch.no_grad():
        backbone(images)  # compiled before anything is asked of it
    torch.testing.assert_close(last_attention(backbone, images), expected)


@pytest.mark.parametrize('name', ['ResNet', 'ConvNeXt'])
def test_backbones_without_attention_are_refused(name):
    backbone = MODELS.build(dict(BACKBONES[name][0]))
    assert not has_attention(backbone)
    with pytest.raises(ValueError, match=f'attention of a {name} cannot be shown'):
        last_attention(backbone, torch.randn(1, 3, 64, 64))


def in_timm(backbone, model_name='resnet10t'):
    """A model of timm as mmpretrain wraps it."""
    wrapped = TIMMBackbone(model_name)
    wrapped.timm_model = backbone
    wrapped.eval()
    return wrapped


@pytest.mark.parametrize(('size', 'depth'), [(64, 1), (128, 2), (80, 2)])
def test_weights_of_a_swin_of_timm(size, depth):
    # The last maps are of 4x4, of 8x8 with shifted windows, and of 5x5, padded.
    swin = SwinTransformer(
        size, embed_dim=16, depths=(1, 1, depth), num_heads=(1, 2, 4), window_size=4
    )
    backbone = in_timm(swin)
    images = torch.randn(2, 3, size, size)
    calls = {}
    attn = swin.layers[-1].blocks[-1].attn
    handle = attn.register_forward_hook(
        lambda _m, args, out: calls.update(x=args, o=out)
    )
    attention = last_attention(backbone, images)
    handle.remove()
    assert has_attention(backbone)
    side = size // 16
    assert attention.grid == (side, side) and attention.num_extra == 0
    sums = attention.weights.sum(-1)
    if side % 4 == 0:
        torch.testing.assert_close(sums, torch.ones_like(sums))
    # The features that the weights mix are those of the positions themselves.
    block = swin.layers[-1].blocks[-1]
    block.register_forward_hook(lambda _m, args, out: calls.update(block=args[0]))
    with torch.no_grad():
        backbone(images)
        tokens = block.norm1(calls['block']).flatten(1, 2)
        bias = attn.qkv.bias.chunk(3)[2]
        value = F.linear(tokens, attn.qkv.weight.chunk(3)[2], bias)
        padding = (1 - sums).transpose(1, 2)[..., None] * bias.view(1, 1, 4, -1)
        mixed = attention.weights @ value.unflatten(-1, (4, -1)).transpose(1, 2)
        mine = attn.proj((mixed.transpose(1, 2) + padding).flatten(2))
        theirs = block._attn(block.norm1(calls['block'])).flatten(1, 2)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_weights_of_a_vit_of_timm():
    vit = timm.models.VisionTransformer(
        64, embed_dim=32, depth=2, num_heads=2, reg_tokens=3, dynamic_img_size=True
    )
    backbone = in_timm(vit)
    attention, attn, args, out = run(backbone, torch.randn(2, 3, 64, 96))
    assert attention.grid == (4, 6) and attention.num_extra == 4
    mine = project(attention.weights, values(attn.qkv, args[0]), attn.proj)
    torch.testing.assert_close(mine, out, rtol=1e-4, atol=1e-4)


def test_attention_of_timm_may_be_fused_or_not():
    vit = timm.models.VisionTransformer(64, embed_dim=32, depth=1, num_heads=2)
    vit.blocks[0].attn.fused_attn = False
    images = torch.randn(1, 3, 64, 64)
    attention = last_attention(in_timm(vit), images)
    assert not vit.blocks[0].attn.fused_attn
    vit.blocks[0].attn.fused_attn = True
    torch.testing.assert_close(attention, last_attention(in_timm(vit), images))
    assert vit.blocks[0].attn.fused_attn


def test_queries_are_rows_of_the_weights():
    attention = last_attention(build(DEIT), torch.randn(1, 3, 64, 48))
    assert attention.grid == (4, 3)
    torch.testing.assert_close(
        attention.of_query((2, 1))[0, 1],
        attention.weights[0, 1, 1 + 2 * 3 + 1, 1:].view(4, 3),
    )
    torch.testing.assert_close(
        attention.of_query('cls').flatten(2), attention.weights[:, :, 0, 1:]
    )
    assert attention.default_queries() == [
        'cls',
        (2, 1),
        (1, 0),
        (1, 2),
        (3, 0),
        (3, 2),
    ]
    with pytest.raises(ValueError, match='query 4,0 lies outside .* rows are 0 to 3'):
        attention.of_query((4, 0))
    swin = last_attention(build(SWIN), torch.randn(1, 3, 32, 32))
    assert swin.default_queries() == [(0, 0)]
    with pytest.raises(ValueError, match="no query 'cls': .* 0 class tokens"):
        swin.of_query('cls')
