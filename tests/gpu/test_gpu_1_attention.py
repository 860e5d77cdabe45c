"""Attention in the fused kernels of a GPU, against the CPU."""

from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn.attention import SDPBackend, sdpa_kernel

NETWORK = dict(depths=[1, 2, 2, 1], num_heads=[1, 2, 4, 8])
BACKBONES = dict(
    swin_w7=dict(type='EsViTSwin', arch=dict(embed_dims=32, **NETWORK)),
    swin_w14=dict(
        type='EsViTSwin', arch=dict(embed_dims=32, **NETWORK), window_size=14
    ),
    vil=dict(type='ViL', arch=dict(embed_dims=[32, 64, 128, 256], **NETWORK)),
    vil_chunks=dict(
        type='ViL',
        arch=dict(embed_dims=[32, 64, 128, 256], **NETWORK),
        num_chunk_stages=3,
    ),
)
# Of the norm of the difference.
TOLERANCES = {torch.float32: 2e-3, torch.float16: 0.05, torch.bfloat16: 0.15}


def bias_gradients(backbone, images):
    outputs = backbone(images)
    last = outputs[-1] if isinstance(outputs, (list, tuple)) else outputs
    last = last[0] if isinstance(last, (list, tuple)) else last
    weights = torch.linspace(-1, 1, last.numel(), device=last.device)
    (last.float() * weights.view_as(last)).sum().backward()
    return {
        name: param.grad.float().cpu()
        for name, param in backbone.named_parameters()
        if name.endswith('bias_table')
    }


def fused_only(device):
    """torch raises where no fused kernel takes what it is given."""
    if device.type != 'cuda':
        return nullcontext()
    kernels = SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION
    return sdpa_kernel([*kernels, SDPBackend.CUDNN_ATTENTION])


@pytest.mark.parametrize('size', [224, 96])
@pytest.mark.parametrize('name', list(BACKBONES))
def test_no_weights_are_kept(name, size, device, dtype, autocast):
    backbone = MODELS.build(dict(BACKBONES[name], drop_path_rate=0.0)).train()
    images = torch.randn(2, 3, size, size)
    expected = bias_gradients(deepcopy(backbone), images)
    with fused_only(device), autocast():
        found = bias_gradients(backbone.to(device), images.to(device))
    assert set(found) == set(expected) and len(found) >= 4
    for key, grad in expected.items():
        error = (found[key] - grad).norm() / grad.norm()
        assert error < TOLERANCES[dtype], (key, float(error))
