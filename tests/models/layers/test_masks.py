"""What a GPU's fused attention is given, seen without a GPU."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from esvit_plugin.models.layers import biased_attention, window_attention

NETWORK = dict(depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
BACKBONES = dict(
    swin_w7=dict(type='EsViTSwin', arch=dict(embed_dims=16, **NETWORK)),
    swin_w14=dict(
        type='EsViTSwin', arch=dict(embed_dims=16, **NETWORK), window_size=14
    ),
    vil=dict(type='ViL', arch=dict(embed_dims=[16, 32, 64, 128], **NETWORK)),
    vil_chunks=dict(
        type='ViL',
        arch=dict(embed_dims=[16, 32, 64, 128], **NETWORK),
        num_chunk_stages=3,
    ),
)


@pytest.fixture
def masks(monkeypatch):
    """The masks that torch's attention is called with, as on a GPU."""
    seen = []

    def attention(query, key, value, attn_mask=None, *args, **kwargs):
        seen.append(attn_mask)
        return torch_attention(query, key, value, attn_mask, *args, **kwargs)

    torch_attention = F.scaled_dot_product_attention
    monkeypatch.setattr(F, 'scaled_dot_product_attention', attention)
    for module in (biased_attention, window_attention):
        monkeypatch.setattr(module, 'computes_weights_again', lambda x: False)
    return seen


@pytest.mark.parametrize('size', [224, 96, 130])
@pytest.mark.parametrize('name', list(BACKBONES))
def test_masks_have_no_gaps(name, size, masks):
    """Otherwise torch would form all weights in single precision."""
    backbone = MODELS.build(BACKBONES[name]).train()
    output = backbone(torch.rand(1, 3, size, size))
    sum(part.mean() for part in output[:1]).backward()
    assert len(masks) >= 8
    assert all(mask.stride(-1) == 1 for mask in masks)
    table = next(p for n, p in backbone.named_parameters() if n.endswith('bias_table'))
    assert table.grad is not None
