"""Activations computed again in the backward pass, as mmpretrain's backbones do."""

import sys
from functools import partial
from types import SimpleNamespace

from torch import nn
from torch.utils import checkpoint

# What mmpretrain's modules call as ``cp.checkpoint``.
_WITHOUT_REENTRY = SimpleNamespace(
    checkpoint=partial(checkpoint.checkpoint, use_reentrant=False)
)


def recompute_without_reentry(model: nn.Module) -> None:
    """Let ``with_cp`` of mmpretrain's modules run inside one backward pass.

    Their calls leave torch's old way the default, a backward pass within another.
    Distributed training refuses it where a backbone sees several views, as it gets a
    parameter's gradient more than once, and it gives no gradients behind frozen
    stages. Results are the same.

    Args:
        model: The model; the modules of Python that define its parts are changed.
    """
    for part in model.modules():
        if getattr(part, 'with_cp', False):
            module = sys.modules[type(part).__module__]
            if getattr(module, 'cp', None) is checkpoint:
                module.cp = _WITHOUT_REENTRY  # type: ignore[attr-defined]
