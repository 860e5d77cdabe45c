"""The same numbers on CPU and GPU, in float32."""

from copy import deepcopy

import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.registry import MODELS, TRANSFORMS
from support.backbones import BACKBONES, build
from support.training import random_views, small_model

from esvit_plugin.datasets import load_photo


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    # Convolutions of a GPU round their inputs to 10 bits by torch's default.
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


def close(found, expected, name, tolerance=2e-3):
    error = (found.cpu().double() - expected.double()).norm()
    assert error <= tolerance * expected.double().norm() + 1e-7, (name, float(error))


@pytest.mark.parametrize('name', list(BACKBONES))
def test_backbones(name, device):
    cfg, _ = BACKBONES[name]
    here = build(cfg)
    here.eval()  # some return nothing
    images = torch.randn(2, 3, 64, 64)
    results = []
    for net, batch in ((here, images), (deepcopy(here).to(device), images.to(device))):
        outputs = net(batch)
        last = outputs[-1] if isinstance(outputs, (list, tuple)) else outputs
        last = last[0] if isinstance(last, (list, tuple)) else last
        # Features of networks in evaluation mode may be of any size.
        weights = torch.linspace(-1, 1, last.numel(), device=last.device)
        (last / last.detach().norm() * weights.view_as(last)).sum().backward()
        grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
        results.append((last.detach(), grads))
    (expected, grads), (found, there) = results
    close(found, expected, 'output')
    total = torch.stack([g.norm() for g in grads.values()]).norm()
    for key, grad in grads.items():
        error = (there[key].cpu() - grad).norm()
        assert error < 2e-3 * grad.norm() + 1e-4 * total, key


@pytest.mark.parametrize('regions', [True, False])
def test_losses(regions, device):
    model = MODELS.build(small_model(regions)).train()
    there = deepcopy(model).to(device)
    views = random_views()
    expected = model.loss(views)
    found = there.loss([view.to(device) for view in views])
    for name, value in expected.items():
        close(found[name].detach(), value.detach(), name)
    for losses in (expected, found):
        sum(v for k, v in losses.items() if k.startswith('loss')).backward()
    for name in ('neck.last_layer', 'neck.mlp.0'):
        pairs = zip(
            model.get_submodule(name).parameters(),
            there.get_submodule(name).parameters(),
        )
        for mine, theirs in pairs:
            if mine.grad is not None:
                close(theirs.grad, mine.grad, name, 1e-2)
    close(there.head.center, model.head.center, 'centre')


def test_device_multi_crop(device):
    transform = TRANSFORMS.build(
        dict(
            type='DeviceMultiCrop',
            views=[
                dict(size=64, num_views=2),
                dict(size=32, scale=(0.05, 0.4), num_views=8),
            ],
        )
    )
    photo = load_photo('chelsea', 120)
    batch = [transform(dict(img=photo, sample_idx=i)) for i in range(8)]
    batch = default_collate([dict(inputs=sample['img']) for sample in batch])
    cfg = dict(type='MultiCropDataPreprocessor')
    expected = MODELS.build(cfg)(batch)['inputs']
    found = MODELS.build(cfg).to(device)(batch)['inputs']
    for mine, theirs in zip(expected, found):
        assert theirs.device.type == device.type
        # In grey levels; where one is rounded to another integer, they differ by 1.
        assert (theirs.cpu() - mine).abs().mean() < 0.05
