import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.registry import MODELS
from support.training import SMALL_SWIN

from esvit_plugin.models import EsViTSwin
from esvit_plugin.models.last_blocks import pool_last_blocks


def small(**kwargs):
    return MODELS.build({**SMALL_SWIN, **kwargs})


def plain_attention(attn, x, window, shift):
    """Window attention of a map (H, W, C), one window and one head at a time."""
    height, width, channels = x.shape
    down, right = -height % window, -width % window
    x = F.pad(x, (0, 0, 0, right, 0, down))
    rows, cols = x.shape[:2]
    x = x.roll((-shift, -shift), (0, 1))
    out = torch.zeros_like(x)
    heads, size = attn.num_heads, channels // attn.num_heads

    def part(position, side):  # which of three parts a rolled row or column is in
        if not shift or position < side - window:
            return 0
        return 1 if position < side - shift else 2

    for top in range(0, rows, window):
        for left in range(0, cols, window):
            places = [
                (r, c)
                for r in range(top, top + window)
                for c in range(left, left + window)
            ]
            tokens = torch.stack([x[place] for place in places])
            query, key, value = attn.qkv(tokens).chunk(3, dim=1)
            scores = torch.zeros(heads, len(places), len(places))
            for h in range(heads):
                band = slice(h * size, (h + 1) * size)
                scores[h] = query[:, band] @ key[:, band].T / size**0.5
                for i, (r, c) in enumerate(places):
                    for j, (r2, c2) in enumerate(places):
                        offset = (r - r2 + window - 1) * (2 * window - 1)
                        offset += c - c2 + window - 1
                        bias = attn.relative_position_bias_table[offset, h]
                        scores[h, i, j] += bias
                        here = part(r, rows), part(c, cols)
                        if here != (part(r2, rows), part(c2, cols)):
                            scores[h, i, j] -= 100
            mixed = [
                scores[h].softmax(-1) @ value[:, h * size : (h + 1) * size]
                for h in range(heads)
            ]
            for place, token in zip(places, attn.proj(torch.cat(mixed, 1))):
                out[place] = token
    return out.roll((shift, shift), (0, 1))[:height, :width]


def plain_swin(model, image, windows):
    """The last normalised map (H, W, C) of one image, from first principles."""
    x = model.patch_embed.projection(image.unsqueeze(0))[0].permute(1, 2, 0)
    x = model.patch_embed.norm(x)
    for stage, window, shifts in zip(model.stages, windows, (True, True, False, False)):
        for index, block in enumerate(stage.blocks):
            shift = window // 2 if shifts and index % 2 else 0
            mixed = plain_attention(block.attn.w_msa, block.norm1(x), window, shift)
            x = x + mixed
            x = x + block.ffn.layers(block.norm2(x))
        if stage.downsample is not None:
            merge, channels = stage.downsample, x.shape[-1]
            x = F.pad(x, (0, 0, 0, x.shape[1] % 2, 0, x.shape[0] % 2))
            # channel by channel, the four neighbours
            quads = x.unflatten(0, (-1, 2)).unflatten(2, (-1, 2))
            quads = quads.permute(0, 2, 4, 1, 3).reshape(
                x.shape[0] // 2, x.shape[1] // 2, 4 * channels
            )
            x = merge.reduction(merge.norm(quads))
    return model.norm3(x)


@pytest.mark.parametrize('size', [(64, 64), (32, 32), (40, 56), (100, 36)])
def test_equals_the_plain_network_at_any_size(size):
    # Two blocks per stage, so that every stage has one that may shift.
    arch = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])
    model = small(arch=arch)
    model.init_weights()
    with torch.no_grad():
        for name, param in model.named_parameters():
            if 'bias' in name:
                param.normal_()  # make biases and padded positions matter
        image = torch.randn(3, *size)
        expected = plain_swin(model, image, windows=(4, 4, 4, 2))
        # Rows of a batch must not see each other.
        ours = model(torch.stack([image, torch.randn_like(image)]))[-1][0]
    torch.testing.assert_close(ours.permute(1, 2, 0), expected, atol=1e-5, rtol=1e-4)


def test_windows_shrink_to_the_grid_of_img_size():
    model = EsViTSwin(arch='tiny', window_size=14)
    blocks = [stage.blocks for stage in model.stages]
    assert [b[1].attn.window_size for b in blocks] == [14, 14, 14, 7]
    assert [b[1].attn.shift_size for b in blocks] == [7, 7, 0, 0]
    assert {m.eps for m in model.modules() if isinstance(m, torch.nn.LayerNorm)} == {
        1e-6
    }


def test_reads_the_weights_of_mmpretrain_by_name():
    norm = dict(type='LN', eps=1e-6)
    stage = dict(block_cfgs=dict(norm_cfg=norm), downsample_cfg=dict(norm_cfg=norm))
    stock = SwinTransformer(
        arch='tiny',
        norm_cfg=norm,
        patch_cfg=dict(norm_cfg=norm),
        stage_cfgs=stage,
    )
    ours = EsViTSwin(arch='tiny')
    ours.load_state_dict(stock.state_dict(), strict=True)
    stock.eval()
    ours.eval()
    with torch.no_grad():
        x = torch.randn(1, 3, 224, 224)
        torch.testing.assert_close(ours(x), stock(x), atol=1e-5, rtol=1e-4)


def test_window_14_takes_the_bias_table_of_window_7():
    wide = EsViTSwin(arch='tiny', window_size=14)
    narrow = EsViTSwin(arch='tiny', window_size=7)
    narrow.init_weights()
    name = 'stages.0.blocks.0.attn.w_msa.relative_position_bias_table'
    with torch.no_grad():  # a table that is linear in the offset stays linear
        ramp = torch.linspace(-1, 1, 13).repeat_interleave(13)
        narrow.get_parameter(name).copy_(ramp[:, None].expand(-1, 3))
    wide.load_state_dict(narrow.state_dict(), strict=False)
    columns = wide.get_parameter(name).view(27, 27, 3)
    # Pixel centres of the two grids: (i + 0.5) / 27 of the way is (u + 0.5) / 13.
    expected = -1 + ((torch.arange(27) + 0.5) * 13 / 27 - 0.5) / 6
    inner = slice(4, -4)  # away from the repeated border
    for column in columns[inner].flatten(1).T:
        torch.testing.assert_close(column, expected[inner], atol=0.01, rtol=0)
    index = name.replace('bias_table', 'index')
    assert wide.get_buffer(index).max() == 27 * 27 - 1


def test_outputs_of_all_stages_are_normalised_maps():
    model = small(out_indices=(0, 1, 2, 3))
    outputs = model(torch.randn(2, 3, 64, 64))
    shapes = [tuple(out.shape) for out in outputs]
    assert shapes == [(2, 16 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(4)]
    for out in outputs:
        torch.testing.assert_close(
            out.mean(1), torch.zeros_like(out[:, 0]), atol=1e-5, rtol=0
        )


def test_frozen_stages_have_no_gradient():
    model = small(frozen_stages=1)
    model.train()
    frozen = ('patch_embed.', 'stages.0.', 'stages.1.')
    for name, param in model.named_parameters():
        assert param.requires_grad != name.startswith(frozen), name
    assert not model.stages[1].training
    assert model.stages[2].training


def test_checkpointing_activations_changes_no_gradient():
    plain, saving = small(), small(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        model(x)[-1].square().sum().backward()
    for ours, theirs in zip(saving.parameters(), plain.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_drop_path_grows_linearly_and_acts_in_training_only():
    model = small(drop_path_rate=0.4)
    rates = [b.attn.drop.drop_prob for s in model.stages for b in s.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    x = torch.randn(8, 3, 64, 64)
    assert not torch.equal(model(x)[-1], model(x)[-1])
    model.eval()
    assert torch.equal(model(x)[-1], model(x)[-1])


def test_layer_depths_for_layer_decay():
    model = small()
    depth = {n: model.get_layer_depth(n)[0] for n, _ in model.named_parameters()}
    assert depth['patch_embed.projection.weight'] == 0
    assert depth['stages.2.blocks.1.norm1.weight'] == 4
    assert depth['norm3.weight'] == 6


def test_pooled_blocks():
    model = small()
    model.eval()
    with torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        pooled = pool_last_blocks(model, x, 3)
        assert pooled.shape == (2, 64 + 64 + 128)
        last = model(x)[-1].mean((2, 3))
        torch.testing.assert_close(pooled[:, -128:], last)
    with pytest.raises(ValueError, match='num_blocks=6.* 5 blocks'):
        pool_last_blocks(model, x, 6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), "no arch 'huge'; choose one of"),
        (dict(img_size=225), 'img_size=225 is no multiple of patch_size=4'),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EsViTSwin(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(arch=dict(embed_dims=16, num_heads=[1, 2])),
            'arch needs embed_dims, one number, and depths and num_heads, lists of',
        ),
        (
            dict(arch=dict(embed_dims=16, depths=[1, 1, 1], num_heads=[1, 2])),
            r'of one length, got .*num_heads.: \[1, 2\]',
        ),
        (
            dict(arch=dict(embed_dims=16, depths=[1, 1], num_heads=[1, 3])),
            'stage 1 has 32 channels, which cannot be parted among 3 heads',
        ),
        (dict(pad_small_map=False), 'sets pad_small_map itself, .* leave it out'),
        (dict(stage_cfgs=[], patch_cfg={}), 'sets patch_cfg and stage_cfgs itself'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=f'EsViTSwin.*{message}'):
        MODELS.build({**SMALL_SWIN, **options, 'type': 'EsViTSwin'})


def test_small_maps_may_be_said_to_be_padded():
    MODELS.build(dict(SMALL_SWIN, pad_small_map=True))
