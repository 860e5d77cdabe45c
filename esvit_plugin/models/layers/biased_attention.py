"""Attention with a trained position bias that does not keep its weights."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# So many weights at once in the backward pass, which caches hold.
PART_ELEMENTS = 2**19


def biased_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
) -> Tensor:
    """Softmax(scale q k + bias) v of each image and head.

    Args:
        query: Shape (B, heads, N, d).
        key: Shape (B, heads, M, d).
        value: Shape as ``key``.
        bias: Added to the scores, shape (heads, N, M).
        scale: Factor of the scores.

    Returns:
        Tensor of shape (B, heads, N, d).
    """
    if computes_weights_again(query):
        return _BiasedAttention.apply(query, key, value, bias, scale)
    return F.scaled_dot_product_attention(
        query, key, value, bias.unsqueeze(0), scale=scale
    )


def computes_weights_again(x: Tensor) -> bool:
    """Whether torch would keep the weights of attention for the backward pass.

    On CPUs it does if the bias is trained.
    """
    return (
        x.device.type == 'cpu'
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled('cpu')
    )


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
) -> Tensor:
    """The output alone, in one go; for the forward pass of an autograd function."""
    # Detached, or torch thinks that the bias needs its gradient from here.
    return F.scaled_dot_product_attention(
        query.detach(), key, value, bias.detach().unsqueeze(0), scale=scale
    )


def attention_gradients(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float, grad: Tensor
) -> list[Tensor]:
    """Gradients of query, key, value and bias from the output's.

    Args:
        query: Shape (B, heads, N, d).
        key: Shape (B, heads, M, d).
        value: Shape as ``key``.
        bias: Shape (heads, N, M).
        scale: Factor of the scores.
        grad: Gradient of the output, shape (B, heads, N, d).

    Returns:
        Tensors of the first four arguments' shapes.
    """
    like = torch.contiguous_format
    grads = [torch.empty_like(x, memory_format=like) for x in (query, key, value)]
    grad_bias = torch.zeros_like(bias)
    size = max(1, PART_ELEMENTS // bias.numel())
    for start in range(0, len(query), size):
        part = slice(start, start + size)
        q, k, v, out, grad_q, grad_k, grad_v = (
            x[part].flatten(0, 1) for x in (query, key, value, grad, *grads)
        )
        weights = bias.repeat(len(q) // len(bias), 1, 1)
        weights.baddbmm_(q, k.transpose(1, 2), alpha=scale)
        weights = weights.softmax(-1)
        torch.bmm(weights.transpose(1, 2), out, out=grad_v)
        scores = torch.ops.aten._softmax_backward_data(
            out @ v.transpose(1, 2), weights, -1, weights.dtype
        )
        grad_bias += scores.unflatten(0, (-1, len(bias))).sum(0)
        scores *= scale
        torch.bmm(scores, k, out=grad_q)
        torch.bmm(scores.transpose(1, 2), q, out=grad_k)
    return [*grads, grad_bias]


class _BiasedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, bias)
        ctx.scale = scale
        return fused_attention(query, key, value, bias, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias = ctx.saved_tensors
        grads = attention_gradients(query, key, value, bias, ctx.scale, grad)
        return *grads, None
