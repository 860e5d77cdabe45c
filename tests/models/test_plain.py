"""The switch between fast paths and their plain twins, on whole backbones."""

from collections import Counter

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN, PatchMerging
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.utils import ShiftWindowMSA
from mmpretrain.registry import MODELS

from esvit_plugin.models import plain_twins
from esvit_plugin.models.backbones import cvt, vil_attention
from esvit_plugin.models.backbones.vil_attention import ViLChunkAttention
from esvit_plugin.models.layers import biased_attention
from esvit_plugin.models.plain import use_plain

WIDTHS, HEADS = [8, 16, 16, 32], [1, 2, 2, 4]
CONFIGS = {
    # Windows of 14, too, as the paper's; two blocks a stage, so that windows shift.
    **{
        f'Swin, W={side}': dict(
            type='EsViTSwin',
            arch=dict(embed_dims=8, depths=[1, 1, 2, 2], num_heads=HEADS),
            img_size=16 * side,
            window_size=side,
            drop_path_rate=0.2,
        )
        for side in (4, 14)
    },
    'ViL': dict(
        type='ViL',
        arch=dict(embed_dims=WIDTHS, depths=[1, 1, 2, 1], num_heads=HEADS),
        img_size=64,
        window_size=2,
        drop_path_rate=0.2,
        random_neighbor=True,
    ),
    'CvT': dict(
        type='CvT',
        arch=dict(embed_dims=WIDTHS, depths=[1, 1, 2, 1], num_heads=HEADS),
        window_size=4,
        drop_path_rate=0.2,
    ),
}


def build(name, **options):
    """A backbone in double precision whose biases matter."""
    backbone = MODELS.build({**CONFIGS[name], **options}).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in backbone.parameters():
            noise = torch.randn(param.shape, generator=generator, dtype=param.dtype)
            param.add_(noise, alpha=0.1)
    backbone.train()
    return backbone


def train(backbone, images, plain):
    """The last map and all gradients, with the same random numbers each time."""
    torch.manual_seed(3)
    if hasattr(backbone, 'seed_neighbors'):
        backbone.seed_neighbors(3)
    images = images.clone().requires_grad_()
    with plain_twins(plain):
        out = backbone(images)[-1]
        inputs = [images, *backbone.parameters()]
        weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        return out, *torch.autograd.grad((out * weights).sum(), inputs)


def assert_twins_agree(backbone, size):
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    pairs = zip(train(backbone, images, False), train(backbone, images, True))
    for fast, plain in pairs:
        torch.testing.assert_close(fast, plain, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize('size', [(96, 96), (100, 68)])
@pytest.mark.parametrize('name', CONFIGS)
def test_fast_and_plain_train_alike(name, size):
    assert_twins_agree(build(name), size)


@pytest.mark.parametrize('name', ['Swin, W=4', 'ViL', 'CvT'])
def test_they_train_alike_when_activations_are_computed_again(name):
    assert_twins_agree(build(name, with_cp=True), (68, 96))


@pytest.mark.parametrize('name', CONFIGS)
def test_the_plain_path_is_another_one(name, monkeypatch):
    calls = Counter()

    def count(owner, function):
        original = getattr(owner, function)

        def counted(*args, **kwargs):
            calls[function, owner] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, function, counted)

    stock = [SwinBlock, ShiftWindowMSA, FFN, PatchMerging]
    for owner in stock:
        count(owner, 'forward')
    for owner in (biased_attention, cvt):
        count(owner, 'attention_weights')
    count(ViLChunkAttention, '_attend_chunks')
    backbone, images = build(name), torch.randn(1, 3, 96, 96, dtype=torch.float64)
    backbone(images)
    assert set(calls) <= {('_attend_chunks', ViLChunkAttention)}
    assert bool(calls) == (name == 'ViL')
    calls.clear()
    with plain_twins():
        backbone(images)
    blocks, merges = 6 - (name in ('ViL', 'CvT')), 3
    assert calls == {
        'ViL': {('attention_weights', biased_attention): blocks},
        'CvT': {('attention_weights', cvt): blocks},
    }.get(
        name,
        {
            ('forward', owner): merges if owner is PatchMerging else blocks
            for owner in stock
        },
    )


def test_the_switch_nests_and_goes_back():
    assert not use_plain()
    with plain_twins():
        assert use_plain()
        with plain_twins(False):
            assert not use_plain()
            with plain_twins():
                assert use_plain()
            assert not use_plain()
        assert use_plain()
    assert not use_plain()
    with pytest.raises(KeyError), plain_twins(), plain_twins(False):
        raise KeyError
    assert not use_plain()


def test_dense_weights_keep_to_the_neighbour():
    attn = vil_attention.ViLChunkAttention(
        window_size=2, embed_dims=8, num_heads=2, num_global_tokens=1
    )
    attn.init_weights()
    x = torch.randn(1, 1 + 6 * 6, 8)
    weights = attn.attention_weights(x, 6, 6, neighbor=0)
    assert weights.shape == (1, 2, 37, 37)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 37))
    # The last position sees the global token, its own chunk and the one before.
    rows = weights[0, 0, -1, 1:].view(6, 6)
    assert weights[0, 0, -1, 0] > 0
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[2:4, 2:4] = expected[4:, 4:] = True
    assert torch.equal(rows > 0, expected)
    out = weights @ attn._heads(x)[2]
    torch.testing.assert_close(attn._merge(out), attn(x, 6, 6, 0))
