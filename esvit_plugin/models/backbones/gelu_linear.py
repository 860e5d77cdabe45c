"""GELU and the linear layer after it, without keeping what is between them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


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
        grad_weight = rows.T @ F.gelu(x).flatten(0, -2).to(grad.dtype)
        grad_x = torch.ops.aten.gelu_backward(grad @ weight.to(grad.dtype), x)
        grad_bias = rows.sum(0).to(weight.dtype) if ctx.has_bias else None
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias
