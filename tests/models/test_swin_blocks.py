"""The blocks of EsViTSwin against their plain twins, mmpretrain's and mmcv's."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN, PatchMerging
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.utils import ShiftWindowMSA

from esvit_plugin.models import plain_twins
from esvit_plugin.models.backbones.swin_blocks import (
    FusedPatchMerging,
    FusedSwinBlock,
    WindowAttention,
)
from esvit_plugin.models.layers.residual import activation_linear, feed_forward

WIDTH, SIDE = 12, 4
# Whole windows; padded; padding that reaches the last window but one; less than one.
SIZES = [(8, 12), (10, 7), (5, 9), (3, 3), (4, 4)]


def attention(shift=0, **options):
    """mmpretrain's attention, whose biases are no zeros."""
    options = dict(embed_dims=WIDTH, num_heads=3, window_size=SIDE, **options)
    attn = ShiftWindowMSA(**options, shift_size=shift, pad_small_map=True).double()
    for param in attn.parameters():
        torch.nn.init.normal_(param)
    return attn


def run(module, x, *args):
    """Outputs and gradients with respect to the input and all parameters."""
    x = x.clone().requires_grad_()
    out = module(x, *args)
    out = out[0] if isinstance(out, tuple) else out
    inputs = [x, *(param for _, param in sorted(module.named_parameters()))]
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out, *torch.autograd.grad((out * weights).sum(), inputs)


def run_plain(module, x, *args):
    """The same of the plain twin."""
    with plain_twins():
        return run(module, x, *args)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('shift', [0, 2])
@pytest.mark.parametrize('qkv_bias', [True, False])
def test_attention_equals_mmpretrains(size, shift, qkv_bias):
    ours = WindowAttention(attention(shift, qkv_bias=qkv_bias))
    x = torch.randn(3, size[0] * size[1], WIDTH, dtype=torch.float64)
    expected = run_plain(ours, x, size)
    for result, other in zip(run(ours, x, size), expected, strict=True):
        torch.testing.assert_close(result, other, atol=1e-9, rtol=1e-7)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, size), expected[0])


@pytest.mark.parametrize('shift', [0, 2])
def test_the_way_of_accelerators_gives_the_same(shift, monkeypatch):
    ours = WindowAttention(attention(shift))
    x, size = torch.randn(2, 70, WIDTH, dtype=torch.float64), (10, 7)
    expected = run(ours, x, size)
    # Autocast of another type leaves float64 alone, but torch's attention is used.
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = run(ours, x, size)
    for result, other in zip(results, expected, strict=True):
        torch.testing.assert_close(result.double(), other, atol=1e-9, rtol=1e-7)


def test_a_size_first_seen_in_inference_mode_can_be_trained():
    ours = WindowAttention(attention(2))
    x, size = torch.randn(1, 11 * 13, WIDTH, dtype=torch.float64), (11, 13)
    with torch.inference_mode():
        expected = ours(x, size)
    torch.testing.assert_close(run(ours, x, size)[0].detach(), expected.clone())


def test_autocast_costs_only_the_precision_of_its_type():
    ours = WindowAttention(attention(2)).float()
    torch.nn.init.normal_(ours.w_msa.qkv.weight, std=0.2)
    x, size = torch.randn(2, 70, WIDTH), (10, 7)
    expected = run(ours, x, size)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = run(ours, x, size)
    for result, other in zip(results, expected, strict=True):
        # torch 2.5 adds up the gradient of a bias in bfloat16.
        assert (result - other).norm() < 0.12 * other.norm()


@pytest.mark.parametrize('plain', [False, True])
def test_dropout_of_attention_keeps_the_mean(plain):
    ours = WindowAttention(attention(attn_drop=0.5))
    x = torch.randn(1, 16, WIDTH, dtype=torch.float64).repeat(4000, 1, 1)
    with plain_twins(plain):
        mean = ours(x, (4, 4)).mean(0)
    ours.eval()
    expected = ours(x[:1], (4, 4))[0]
    assert not torch.equal(mean, expected)
    assert (mean - expected).norm() < 0.1 * expected.norm()


def test_block_equals_mmpretrains_and_drops_the_same_branches():
    options = dict(window_size=SIDE, shift=True, pad_small_map=True, drop_path=0.5)
    stock = SwinBlock(WIDTH, 3, **options).double()
    block = FusedSwinBlock(stock)
    x = torch.randn(8, 70, WIDTH, dtype=torch.float64)
    for mode in (True, False):
        stock.train(mode)
        block.train(mode)
        results = []
        for call in (run, run_plain, lambda _, *args: run(stock, *args)):
            torch.manual_seed(3)
            results.append(call(block, x, (10, 7)))
        for result, twins, stocks in zip(*results, strict=True):
            torch.testing.assert_close(result, stocks)
            assert torch.equal(twins, stocks)


@pytest.mark.parametrize('size', SIZES)
def test_merging_equals_mmcvs(size):
    stock = PatchMerging(WIDTH, 2 * WIDTH).double()
    torch.nn.init.normal_(stock.norm.weight)
    torch.nn.init.normal_(stock.norm.bias)
    x = torch.randn(2, size[0] * size[1], WIDTH, dtype=torch.float64)
    ours = FusedPatchMerging(stock)
    assert ours.state_dict().keys() == stock.state_dict().keys()
    assert ours(x, size)[1] == tuple(stock(x, size)[1])
    results = run(ours, x, size), run_plain(ours, x, size), run(stock, x, size)
    for result, twins, stocks in zip(*results, strict=True):
        torch.testing.assert_close(result, stocks)
        assert torch.equal(twins, stocks)


@pytest.mark.parametrize('name', ['gelu', 'silu'])
@pytest.mark.parametrize('bias', [True, False])
def test_activation_linear(bias, name):
    linear = torch.nn.Linear(6, 3, bias=bias).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    ours = torch.nn.Module()
    ours.linear = linear
    ours.forward = lambda x: activation_linear(x, linear.weight, linear.bias, name)
    for result, other in zip(run(ours, x), run_plain(ours, x), strict=True):
        torch.testing.assert_close(result, other)
    narrow = x.float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = run(ours.float(), narrow)
    for mine, other in zip(result, run_plain(ours, narrow), strict=True):
        torch.testing.assert_close(mine.float(), other, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    'activation',
    [
        dict(type='GELU'),
        dict(type='GELU', approximate='tanh'),
        dict(type='mmpretrain.QuickGELU'),
        dict(type='ReLU'),
    ],
)
def test_feed_forward_equals_mmcvs_layers(activation):
    ffn = FFN(6, 8, act_cfg=activation).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    ours = torch.nn.Module()
    ours.layers = ffn.layers
    ours.forward = lambda x: feed_forward(ffn, x)
    for result, other in zip(run(ours, x), run_plain(ours, x), strict=True):
        torch.testing.assert_close(result, other)
    with plain_twins():
        assert torch.equal(ours(x), ffn.layers(x))
