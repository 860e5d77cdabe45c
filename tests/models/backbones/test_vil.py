import itertools

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from esvit_plugin.models import plain_twins
from esvit_plugin.models.backbones.vil_attention import (
    ViLChunkAttention,
    ViLFullAttention,
)
from esvit_plugin.models.conversion.vil import vil_from_released
from esvit_plugin.models.layers.chunk_layout import (
    chunk_offset_index,
    chunk_plan,
    map_offset_index,
    offset_index,
)


def random_attention(cls, **kwargs):
    attn = cls(embed_dims=8, num_heads=2, **kwargs)
    for param in attn.parameters():
        torch.nn.init.normal_(param, std=0.5)
    return attn.double()


def plain_attention(attn, x, local_bias):
    """Attention with ``local_bias[h, i, j]``, -inf where i does not attend to j."""
    num_global, heads = attn.num_global_tokens, attn.num_heads
    tokens = x.shape[1]
    bias = torch.zeros(heads, tokens, tokens, dtype=x.dtype)
    bias[:, num_global:, num_global:] = local_bias
    if num_global:
        bias[:, :num_global, :num_global] = attn.global_global_bias
        bias[:, :num_global, num_global:] = attn.global_local_bias[0, :, :, None]
        bias[:, num_global:, :num_global] = attn.global_local_bias[1, :, None, :]
    size = x.shape[2] // heads
    query, key, value = attn.qkv(x).chunk(3, dim=-1)
    outs = []
    for h in range(heads):
        band = slice(h * size, (h + 1) * size)
        scores = query[..., band] @ key[..., band].transpose(1, 2) / size**0.5
        outs.append((scores + bias[h]).softmax(-1) @ value[..., band])
    return attn.proj(torch.cat(outs, -1))


def plain_chunk_bias(attn, height, width, steps):
    """Bias of positions whose chunks are one of ``steps`` (rows, columns) apart."""
    side = attn.window_size
    places = list(itertools.product(range(height), range(width)))
    rows, seen = [], []
    for (r, c), (r2, c2) in itertools.product(places, repeat=2):
        seen.append((r2 // side - r // side, c2 // side - c // side) in steps)
        row = (r - r2 + 2 * side - 1) * (4 * side - 1) + c - c2 + 2 * side - 1
        rows.append(row if seen[-1] else 0)
    bias = attn.relative_position_bias_table[rows].T
    bias = bias.where(torch.tensor(seen), -torch.inf)
    return bias.view(-1, len(places), len(places))


AROUND = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)]


@pytest.mark.parametrize('neighbor', [None, 0, 3, 4, 7])
@pytest.mark.parametrize(('height', 'width'), [(6, 6), (5, 8), (2, 9), (1, 1)])
@pytest.mark.parametrize('num_global', [0, 2])
def test_chunk_attention_is_that_of_plain_loops(
    monkeypatch, neighbor, height, width, num_global
):
    attn = random_attention(
        ViLChunkAttention, window_size=2, num_global_tokens=num_global
    )
    x = torch.randn(2, num_global + height * width, 8).double().requires_grad_()
    others = [step for step in AROUND if step != (0, 0)]
    steps = AROUND if neighbor is None else [(0, 0), others[neighbor]]
    expected = plain_attention(attn, x, plain_chunk_bias(attn, height, width, steps))
    sources = [x, *attn.parameters()]
    weight = torch.randn_like(expected)
    theirs = torch.autograd.grad((expected * weight).sum(), sources)
    for path in ('masked', 'gathered', 'plain'):
        # The plain twin masks, whatever is faster.
        masks = path == 'masked'
        monkeypatch.setattr(
            ViLChunkAttention, '_masking_is_faster', lambda *_, masks=masks: masks
        )
        with plain_twins(path == 'plain'):
            actual = attn(x, height, width, neighbor)
            ours = torch.autograd.grad((actual * weight).sum(), sources)
        torch.testing.assert_close(actual, expected)
        for mine, other in zip(ours, theirs):
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(('height', 'width'), [(4, 4), (2, 3), (5, 6)])
@pytest.mark.parametrize('num_global', [0, 1])
def test_full_attention_is_that_of_plain_loops(height, width, num_global):
    attn = random_attention(ViLFullAttention, grid=4, num_global_tokens=num_global)
    places = list(itertools.product(range(4), range(4)))
    bias = torch.zeros(2, 16, 16).double()
    for (i, (r, c)), (j, (r2, c2)) in itertools.product(enumerate(places), repeat=2):
        row = (r - r2 + 3) * 7 + c - c2 + 3
        bias[:, i, j] = attn.relative_position_bias_table[row]
    size = (height * width, height * width)
    bias = F.interpolate(bias[None], size, mode='bicubic', align_corners=False)[0]
    x = torch.randn(2, num_global + height * width, 8).double()
    expected = plain_attention(attn, x, bias)
    for plain in (False, True):
        with plain_twins(plain):
            torch.testing.assert_close(attn(x, height, width), expected)


@pytest.mark.parametrize('positions', [1, 2, 4, 27, 54, 64, 256])
def test_full_attention_takes_any_number_of_positions(positions):
    attn = ViLFullAttention(grid=14, embed_dims=8, num_heads=2, num_global_tokens=1)
    x = torch.randn(1, 1 + positions, 8)
    assert attn(x, positions, 1).shape == x.shape


@pytest.mark.parametrize(
    ('cls', 'size'), [(ViLChunkAttention, 'window_size'), (ViLFullAttention, 'grid')]
)
def test_a_size_first_seen_in_inference_mode_can_be_trained(cls, size):
    for index in (offset_index, chunk_offset_index, chunk_plan, map_offset_index):
        index.cache_clear()
    attn = random_attention(cls, num_global_tokens=1, **{size: 4})
    x = torch.randn(2, 1 + 7 * 9, 8, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        expected = attn(x, 7, 9)
    out = attn(x, 7, 9)
    torch.testing.assert_close(out.detach(), expected.clone())
    out.square().sum().backward()
    assert x.grad.isfinite().all()


def test_a_bias_table_of_another_size_is_resized_on_loading():
    source = ViLFullAttention(grid=7, embed_dims=8, num_heads=2, num_global_tokens=0)
    with torch.no_grad():  # linear in the offset of rows
        ramp = torch.linspace(-1, 1, 13).repeat_interleave(13)
        source.relative_position_bias_table.copy_(ramp[:, None].expand(-1, 2))
    target = ViLFullAttention(grid=14, embed_dims=8, num_heads=2, num_global_tokens=0)
    target.load_state_dict(source.state_dict(), strict=True)
    column = target.relative_position_bias_table.view(27, 27, 2)[:, 5, 1]
    # Pixel centres of the two grids: (i + 0.5) / 27 of the way is (u + 0.5) / 13.
    expected = -1 + ((torch.arange(27) + 0.5) * 13 / 27 - 0.5) / 6
    torch.testing.assert_close(column[4:-4], expected[4:-4], atol=0.01, rtol=0)


SMALL = dict(
    type='ViL',
    arch=dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4]),
    img_size=64,
    window_size=4,
)


def test_random_neighbours_act_in_training_only_and_follow_the_seed():
    model = MODELS.build(dict(SMALL, random_neighbor=True, drop_path_rate=0.0))
    model.init_weights()
    x = torch.randn(2, 3, 64, 64)
    model.eval()
    full = model(x)[-1]
    model.train()
    runs = []
    for seed in (1, 1, 2):
        model.seed_neighbors(seed)
        runs.append([model(x)[-1] for _ in range(3)])
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1]))
    assert not all(torch.equal(out, runs[0][0]) for out in runs[0])
    assert not all(torch.equal(a, b) for a, b in zip(runs[0], runs[2]))
    model.set_random_neighbor(False)
    torch.testing.assert_close(model(x)[-1], full)


def test_random_neighbours_are_the_same_when_activations_are_recomputed():
    plain = MODELS.build(dict(SMALL, random_neighbor=True, drop_path_rate=0.0))
    saving = MODELS.build(
        dict(SMALL, random_neighbor=True, drop_path_rate=0.0, with_cp=True)
    )
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        model.seed_neighbors(5)
        model(x)[-1].square().sum().backward()
    for ours, theirs in zip(saving.parameters(), plain.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_shared_projections_are_joined():
    parts = {'query': 4, 'kv': 8}
    released = {
        f'layer1.1.attn.{name}{suffix}.weight': torch.randn(rows, 4)
        for name, rows in parts.items()
        for suffix in ('', '_global')
    }
    name = 'stages.0.blocks.0.attn.qkv.weight'
    expected = torch.cat(
        [released[f'layer1.1.attn.{part}_global.weight'] for part in parts]
    )
    converted = vil_from_released(released)
    assert list(converted) == [name]
    assert torch.equal(converted[name], expected)


def test_chunks_in_the_third_stage_change_nothing_at_224_px():
    arch = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2])
    usual, dense = (
        MODELS.build(dict(type='ViL', arch=arch, num_chunk_stages=number))
        for number in (2, 3)
    )
    usual.init_weights()
    dense.load_state_dict(usual.state_dict(), strict=True)
    x = torch.randn(1, 3, 224, 224)
    for model in (usual, dense):
        model.eval()
    torch.testing.assert_close(dense(x)[-1], usual(x)[-1], atol=1e-5, rtol=1e-4)
