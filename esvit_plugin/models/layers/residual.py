"""The branches of a block: adding them, and a leaner feed-forward network."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.models.utils import QuickGELU
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...torch_calls import gelu_backward, silu_backward
from ..plain import use_plain
from ..utils import is_traced


def add_branch(x: Tensor, branch: Tensor, drop: nn.Module) -> Tensor:
    """``x + drop(branch)`` in one step, with the same random numbers.

    Args:
        x: Tensor of shape (B, ...).
        branch: Tensor of the same shape.
        drop: mmcv's ``DropPath``, or what has no ``drop_prob`` and drops nothing.
    """
    if use_plain():
        return x + drop(branch)
    rate = getattr(drop, 'drop_prob', 0.0)
    if not drop.training or not rate:
        return x + branch
    keep = 1 - rate
    shape = len(x), *[1] * (x.dim() - 1)
    draw = torch.rand(shape, dtype=branch.dtype, device=x.device)
    return torch.addcmul(x, branch, draw.add_(keep).floor_() / keep)


def feed_forward(ffn: FFN, x: Tensor) -> Tensor:
    """The layers of mmcv's FFN, without stochastic depth and shortcut.

    Args:
        ffn: Two linear layers with an activation between them.
        x: Tensor of shape (..., C).
    """
    layers: Any = ffn.layers
    (first, activation, dropout), second, last = layers
    if use_plain() or (ffn.training and dropout.p):
        return layers(x)
    if isinstance(activation, nn.GELU) and activation.approximate == 'none':
        return last(activation_linear(first(x), second.weight, second.bias, 'gelu'))
    if isinstance(activation, QuickGELU):
        # QuickGELU(z) = z sigmoid(1.702 z) = SiLU(1.702 z) / 1.702.
        hidden = F.linear(x, 1.702 * first.weight, 1.702 * first.bias)
        weight = second.weight / 1.702
        return last(activation_linear(hidden, weight, second.bias, 'silu'))
    return layers(x)


def activation_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str
) -> Tensor:
    """``linear(activation(x))`` that keeps ``x`` alone for the backward pass.

    The activation, as large as ``x``, is computed again there: of a block's memory,
    a quarter for one cheap operation. A CPU keeps that of half precision: it takes
    half of the memory, and beside products in bfloat16 the operation is not cheap.

    Args:
        x: Tensor of shape (..., C).
        weight: Shape (C', C).
        bias: Shape (C',), or None.
        activation: 'gelu' or 'silu'.

    Returns:
        Tensor of shape (..., C').
    """
    # Without gradients nothing is kept, and counters of operations see these two, as
    # does torch.jit.trace.
    again = torch.is_grad_enabled() and not is_traced() and not use_plain()
    if not again or (x.device.type == 'cpu' and x.dtype.itemsize == 2):
        return F.linear(_ACTIVATIONS[activation][0](x), weight, bias)
    return _ActivationLinear.apply(x, weight, bias, activation)


_ACTIVATIONS: dict[str, tuple[Callable, Any]] = {
    'gelu': (F.gelu, gelu_backward),
    'silu': (F.silu, silu_backward),
}


class _ActivationLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.activation = activation
        return F.linear(_ACTIVATIONS[activation][0](x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        activate, differentiate = _ACTIVATIONS[ctx.activation]
        rows = grad.flatten(0, -2)
        # One buffer of this size for the activation, its gradient and that of x.
        buffer = activate(x).to(grad.dtype)
        grad_weight = rows.T @ buffer.flatten(0, -2)
        torch.mm(rows, weight.to(grad.dtype), out=buffer.flatten(0, -2))
        differentiate(buffer, x, grad_input=buffer)
        grad_bias = None if ctx.bias_dtype is None else rows.sum(0).to(ctx.bias_dtype)
        return buffer.to(x.dtype), grad_weight.to(weight.dtype), grad_bias, None
