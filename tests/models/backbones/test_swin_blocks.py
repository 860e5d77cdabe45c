"""The blocks of EsViTSwin against their plain twins, mmpretrain's and mmcv's."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import PatchMerging
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.utils import ShiftWindowMSA
from support.gradients import run, run_plain

from esvit_plugin.models import plain_twins
from esvit_plugin.models.backbones.swin_blocks import (
    FusedPatchMerging,
    FusedSwinBlock,
    WindowAttention,
)

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
