"""``with_cp``, compiled backbones, and peak memory."""

from copy import deepcopy

import pytest
import torch
from mmpretrain.registry import MODELS
from support.backbones import BACKBONES
from support.training import random_views, small_model, with_backbone

from esvit_plugin.models import plain_twins


def gradients(model, views, context):
    """Losses and the gradients of the student's backbone."""
    model.zero_grad()
    with context:
        losses = model.loss(views)
    loss = sum(value for name, value in losses.items() if name.startswith('loss'))
    loss.backward()
    grads = {n: p.grad.clone() for n, p in model.backbone.named_parameters()}
    return loss.detach(), grads


def alike(model, other, device, context, tolerance):
    other.load_state_dict(model.state_dict())
    views = [view.to(device) for view in random_views()]
    loss, grads = gradients(model.to(device), views, context())
    found, other_grads = gradients(other.to(device), views, context())
    torch.testing.assert_close(found, loss, rtol=tolerance, atol=0)
    total = torch.stack([grad.norm() for grad in grads.values()]).norm()
    for name, grad in grads.items():
        error = (other_grads[name] - grad).norm()
        assert error <= 10 * tolerance * total, (name, float(error / total))


@pytest.mark.parametrize('name', ['EsViTSwin', 'ViL', 'CvT'])
def test_checkpointed_activations(name, device):
    backbone, width = BACKBONES[name]
    backbone = dict(backbone, drop_path_rate=0.0)
    if name == 'ViL':
        backbone['random_neighbor'] = False
    models = [
        MODELS.build(with_backbone(dict(backbone, with_cp=with_cp), width))
        for with_cp in (False, True)
    ]
    alike(*models, device, torch.enable_grad, 1e-3)


def test_compiled_backbones(device, autocast, dtype):
    backend = 'inductor' if device.type == 'cuda' else 'eager'
    cfg = small_model()
    compiled = dict(cfg, compile_backbones=dict(backend=backend))
    tolerance = 2e-3 if dtype == torch.float32 else 5e-2
    alike(MODELS.build(cfg), MODELS.build(compiled), device, autocast, tolerance)


@pytest.mark.usefixtures('_gpu')
def test_peak_memory(device, autocast, dtype, capsys):
    """Of a step of Swin-T; at most that of the plain twin."""
    neck = dict(in_channels=768, out_channels=16384)
    cfg = small_model(num_prototypes=16384)
    cfg['backbone'] = dict(type='EsViTSwin', arch='tiny')
    for name in ('neck', 'region_neck'):
        cfg[name] = dict(type='DINOProjection', **neck)
    first = MODELS.build(cfg).to(device)
    views = [
        torch.randn(8, n, 3, size, size, device=device)
        for n, size in ((2, 224), (8, 96))
    ]
    peaks = {}
    for name in ('ours', 'plain'):
        model = deepcopy(first)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        if name == 'plain':
            with plain_twins():
                gradients(model, views, autocast())
        else:
            gradients(model, views, autocast())
        peaks[name] = (torch.cuda.max_memory_allocated(device) - before) / 2**20
        del model
    ours, plain = peaks['ours'], peaks['plain']
    with capsys.disabled():
        print(
            f'\npeak memory of a step of Swin-T, 8 images, {dtype}: ours {ours:.0f} '
            f'MiB, plain {plain:.0f} MiB, ratio {ours / plain:.2f}'
        )
    assert ours < plain
