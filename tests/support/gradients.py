"""What a module gives, forward and backward."""

import torch

from esvit_plugin.models import plain_twins


def run(module, x, *args):
    """Outputs and gradients with respect to the input and all parameters."""
    x = x.clone().requires_grad_()
    out = module(x, *args)
    out = out[0] if isinstance(out, tuple) else out
    inputs = [x, *(param for _, param in sorted(module.named_parameters()))]
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out, *torch.autograd.grad((out * weights).sum(), inputs)


def run_plain(module, x, *args):
    """The same of the plain twin."""
    with plain_twins():
        return run(module, x, *args)
