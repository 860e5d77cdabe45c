import pytest
import torch
import torch.nn.functional as F

from esvit_plugin.models import CvT, plain_twins
from esvit_plugin.models.backbones.cvt import ConvWindowAttention


def plain_attention(attn, x):
    """Attention of maps (B, H, W, C), one window and one head at a time."""
    _, height, width, channels = x.shape
    side = min(attn.window_size, height, width)
    x = x.permute(0, 3, 1, 2)
    x = F.pad(x, (0, -width % side, 0, -height % side))
    maps = F.conv2d(x, attn.conv.weight, padding=1, groups=channels)
    maps = attn.conv_norm(maps)
    weight = attn.qkv.weight[:, :, None, None]
    query, key, value = F.conv2d(maps, weight, attn.qkv.bias).chunk(3, dim=1)
    out = torch.zeros_like(x)
    size = channels // attn.num_heads
    for top in range(0, x.shape[2], side):
        for left in range(0, x.shape[3], side):
            window = (..., slice(top, top + side), slice(left, left + side))
            for h in range(attn.num_heads):
                band = slice(h * size, (h + 1) * size)
                q, k, v = (t[:, band][window].flatten(2) for t in (query, key, value))
                scores = q.transpose(1, 2) @ k / channels**0.5
                mixed = v @ scores.softmax(-1).transpose(1, 2)
                out[:, band][window] = mixed.unflatten(2, (side, side))
    out = out[:, :, :height, :width].permute(0, 2, 3, 1)
    return attn.proj(out)


@pytest.mark.parametrize(('height', 'width'), [(4, 4), (6, 9), (2, 7), (1, 3)])
def test_window_attention_is_that_of_plain_loops(height, width):
    attn = ConvWindowAttention(8, 2, 4, True, dict(type='BN'))
    for param in attn.parameters():
        torch.nn.init.normal_(param)
    attn.double()
    x = torch.randn(2, height, width, 8).double().requires_grad_()
    expected = plain_attention(attn, x)
    sources = [x, *attn.parameters()]
    weight = torch.randn_like(expected)
    theirs = torch.autograd.grad((expected * weight).sum(), sources)
    for plain in (False, True):
        with plain_twins(plain):
            actual = attn(x)
            ours = torch.autograd.grad((actual * weight).sum(), sources)
        torch.testing.assert_close(actual, expected)
        for mine, other in zip(ours, theirs):
            torch.testing.assert_close(mine, other)


def test_fixed_norms_do_not_move():
    model = CvT(
        arch=dict(embed_dims=[8, 8], depths=[1, 1], num_heads=[1, 2]),
        out_indices=(1,),
        norm_eval=True,
    )
    model.train()
    before = {k: v.clone() for k, v in model.named_buffers()}
    model(torch.randn(2, 3, 32, 32))
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]), name
    model.norm_eval = False
    model.train()
    model(torch.randn(2, 3, 32, 32))
    name = 'stages.0.blocks.0.attn.conv_norm.running_mean'
    assert not torch.equal(model.get_buffer(name), before[name])
