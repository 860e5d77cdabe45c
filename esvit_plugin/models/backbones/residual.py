"""The branches of a block: adding them, and a leaner feed-forward network."""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def add_branch(x: Tensor, branch: Tensor, drop: nn.Module) -> Tensor:
    """``x + drop(branch)`` in one step, with the same random numbers.

    Args:
        x: Tensor of shape (B, ...).
        branch: Tensor of the same shape.
        drop: mmcv's ``DropPath``, or what has no ``drop_prob`` and drops nothing.
    """
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
    (linear, activation, dropout), second, last = layers
    if not isinstance(activation, nn.GELU) or (ffn.training and dropout.p):
        return layers(x)
    return last(gelu_linear(linear(x), second.weight, second.bias))


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``linear(gelu(x))`` that keeps ``x`` alone for the backward pass.

    The activation, as large as ``x``, is computed again there: of a block's memory,
    a quarter for one cheap operation.

    Args:
        x: Tensor of shape (..., C).
        weight: Shape (C', C).
        bias: Shape (C',), or None.

    Returns:
        Tensor of shape (..., C').
    """
    if not torch.is_grad_enabled():  # counters of operations see into it
        return F.linear(F.gelu(x), weight, bias)
    return _GELULinear.apply(x, weight, bias)


class _GELULinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        # One buffer of this size for the activation, its gradient and that of x.
        buffer = F.gelu(x).to(grad.dtype)
        grad_weight = rows.T @ buffer.flatten(0, -2)
        torch.mm(rows, weight.to(grad.dtype), out=buffer.flatten(0, -2))
        torch.ops.aten.gelu_backward(buffer, x, grad_input=buffer)
        grad_bias = rows.sum(0).to(weight.dtype) if ctx.has_bias else None
        return buffer.to(x.dtype), grad_weight.to(weight.dtype), grad_bias
