"""Attention of many small windows with one bias."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .biased_attention import (
    attention_gradients,
    computes_weights_again,
    fused_attention,
)


def window_attention(
    qkv: Tensor,
    bias: Tensor,
    pad: Tensor | None = None,
    scale: float = 1.0,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax(scale q k + bias) v of each window and head.

    Args:
        qkv: Queries, keys and values, shape (W, N, 3, heads, d).
        bias: Added to the scores, shape (heads, N, N), or (heads, N, N + 1) if there
            is a further key.
        pad: Key and value that all windows have besides their own, shape
            (2, heads, d). Defaults to None.
        scale: Factor of the scores. Defaults to 1.
        dropout: Probability of dropping a weight. Defaults to 0.

    Returns:
        Tensor of shape (W, N, heads d).
    """
    if computes_weights_again(qkv) and not dropout:
        return _WindowAttention.apply(qkv, bias, pad, scale)
    query, key, value = _heads(qkv, pad)
    out = F.scaled_dot_product_attention(
        query, key, value, bias.unsqueeze(0), dropout, scale=scale
    )
    return out.transpose(1, 2).flatten(2)


def reorder(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """``x[order]`` whose gradient is a gather too, by the inverse of the order.

    Args:
        x: Rows, shape (N, C).
        order: A permutation, shape (N,).
        inverse: Its inverse, shape (N,).
    """
    return _Reorder.apply(x, order, inverse)


class _Reorder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.inverse, ctx.order = inverse, order
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return reorder(grad, ctx.inverse, ctx.order), None, None


def _heads(qkv: Tensor, pad: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (W, heads, N, d), with the further key at the end."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    if pad is None:
        return query, key, value
    more = pad[:, None, :, None].expand(-1, len(qkv), -1, -1, -1)
    return query, torch.cat([key, more[0]], 2), torch.cat([value, more[1]], 2)


class _WindowAttention(torch.autograd.Function):
    """``biased_attention`` that keeps ``qkv`` alone and no further keys."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, bias: Tensor, pad: Tensor | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(qkv, bias, pad)
        ctx.scale = scale
        out = fused_attention(*_heads(qkv, pad), bias, scale)
        return out.transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, bias, pad = ctx.saved_tensors
        number, heads = qkv.shape[1], qkv.shape[3]
        grad = grad.unflatten(2, (heads, -1)).transpose(1, 2)
        *grads, grad_bias = attention_gradients(
            *_heads(qkv, pad), bias, ctx.scale, grad
        )
        grad_qkv = torch.stack([x[:, :, :number].transpose(1, 2) for x in grads], 2)
        grad_pad = None
        if pad is not None:
            grad_pad = torch.stack([x[:, :, number].sum(0) for x in grads[1:]])
        return grad_qkv, grad_bias, grad_pad, None
