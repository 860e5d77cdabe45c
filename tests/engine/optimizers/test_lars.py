"""LARS of MoCo v3's ResNet-50 against the program's formula."""

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from support.paths import CONFIGS
from torch import nn

from esvit_plugin.engine.configs import load_config


def plain_step(params, buffers, lr, decay=1e-6, momentum=0.9, trust=1e-3):
    """Neither decay nor trust ratio on what is one-dimensional."""
    for param, buffer in zip(params, buffers, strict=True):
        grad = param.grad
        if param.ndim > 1:
            grad = grad + decay * param
            grad = grad * trust * param.norm() / grad.norm()
        buffer.mul_(momentum).add_(grad)
        param.sub_(lr * buffer)


def test_steps_are_those_of_the_program():
    cfg = load_config(str(CONFIGS / 'mocov3' / 'mocov3_resnet50.py'))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    model.append(nn.Linear(4 * 36, 5))
    model = nn.ModuleDict(dict(model=model))
    init_default_scope('mmpretrain')
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    params = list(model.parameters())
    plain = [param.detach().clone().requires_grad_() for param in params]
    buffers = [torch.zeros_like(param) for param in plain]
    for lr in (4.8, 2.4):  # the rate is not part of the momentum
        for group in wrapper.param_groups:
            group['lr'] = lr
        for param, twin in zip(params, plain, strict=True):
            param.grad = torch.randn_like(param)
            twin.grad = param.grad.clone()
        wrapper.step()
        with torch.no_grad():
            plain_step(plain, buffers, lr)
        for param, twin in zip(params, plain, strict=True):
            torch.testing.assert_close(param, twin, rtol=1e-5, atol=1e-6)
