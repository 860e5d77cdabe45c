"""Attention with a trained position bias that does not keep its weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...torch_calls import cpu_attention, softmax_backward
from ..plain import use_plain
from ..utils import is_traced, upcast

# The backward pass forms this many weights at once: few enough for the CPU's caches.
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
    if use_plain():
        weights = attention_weights(query, key, bias, scale)
        return weights.to(value.dtype) @ value
    if computes_weights_again(query):
        return _BiasedAttention.apply(query, key, value, bias, scale)
    return F.scaled_dot_product_attention(
        query, key, value, bias.unsqueeze(0), scale=scale
    )


def attention_weights(
    query: Tensor, key: Tensor, bias: Tensor | None, scale: float
) -> Tensor:
    """Softmax(scale q k + bias), in single precision or better.

    Args:
        query: Shape (..., N, d).
        key: Shape (..., M, d).
        bias: Added to the scores, of a shape that broadcasts to (..., N, M), or None.
        scale: Factor of the scores.

    Returns:
        Tensor of shape (..., N, M); its last axis sums to 1.
    """
    scores = scale * upcast(query) @ upcast(key).transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1)


def gather_bias(table: Tensor, index: Tensor) -> Tensor:
    """Position biases of each head, in one piece.

    The fused kernels of a GPU refuse a mask whose last axis has gaps, and torch then
    forms all weights in single precision.

    Args:
        table: A row for each offset, shape (offsets, heads).
        index: Rows of it, of any shape.

    Returns:
        Tensor of shape (heads, *index.shape).
    """
    return table[index].movedim(-1, 0).contiguous()


def computes_weights_again(x: Tensor) -> bool:
    """Whether the backward pass shall form the weights again instead of keeping them.

    On a CPU torch's own attention keeps them if the bias is trained. What
    ``torch.jit.trace`` writes cannot hold a function with a gradient of its own.
    """
    return x.device.type == 'cpu' and torch.is_grad_enabled() and not is_traced()


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Torch's fused attention of a CPU, for the forward pass of an autograd function.

    Args:
        query: Shape (B, heads, N, d).
        key: Shape (B, heads, M, d).
        value: Shape as ``key``.
        bias: Shape (heads, N, M).
        scale: Factor of the scores.

    Returns:
        The output, shape (B, heads, N, d), and the logarithms of the sums of each
        query's exponentiated scores, shape (B, heads, N), in single precision or
        better.
    """
    # The kernel itself takes the channels of a head to be without gaps.
    query, key, value = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value)
    )
    return cpu_attention(query, key, value, attn_mask=bias.unsqueeze(0), scale=scale)


def attention_gradients(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    scale: float,
    log_sums: Tensor,
    grad: Tensor,
    grads: Sequence[Tensor],
) -> Tensor:
    """Gradients of query, key, value and bias from the output's.

    Of half precision, scores are formed in float32, as their sums were, other products
    in that type.

    Args:
        query: Shape (B, heads, N, d).
        key: Shape (B, heads, M, d).
        value: Shape as ``key``.
        bias: Shape (heads, N, M).
        scale: Factor of the scores.
        log_sums: As :func:`fused_attention` returns it.
        grad: Gradient of the output, shape (B, heads, N, d).
        grads: What to write the gradients of query, key and value to.

    Returns:
        The gradient of the bias.
    """
    grad_bias = torch.zeros_like(upcast(bias))
    size = max(1, PART_ELEMENTS // bias.numel())
    for start in range(0, len(query), size):
        part = slice(start, start + size)
        # Images and heads in one axis: X, of a part's images.
        q_XNd, k_XMd, v_XMd, grad_XNd = (
            x[part].flatten(0, 1) for x in (query, key, value, grad)
        )
        grad_q_WhNd, grad_k_WhMd, grad_v_WhMd = (x[part] for x in grads)
        images = grad_q_WhNd.shape[:2]
        weights_XNM = _weights_again(q_XNd, k_XMd, bias, scale, log_sums[part]).to(
            v_XMd.dtype
        )
        grad_v_XMd = weights_XNM.transpose(1, 2) @ grad_XNd
        grad_v_WhMd.copy_(grad_v_XMd.unflatten(0, images))
        grad_scores_XNM = softmax_backward(
            grad_XNd @ v_XMd.transpose(1, 2), weights_XNM, -1, weights_XNM.dtype
        )
        grad_bias += grad_scores_XNM.unflatten(0, images).sum(0, dtype=grad_bias.dtype)
        grad_scores_XNM *= scale
        grad_q_XNd = grad_scores_XNM @ k_XMd
        grad_q_WhNd.copy_(grad_q_XNd.unflatten(0, images))
        grad_k_XMd = grad_scores_XNM.transpose(1, 2) @ q_XNd
        grad_k_WhMd.copy_(grad_k_XMd.unflatten(0, images))
    return grad_bias.to(bias.dtype)


def _weights_again(
    q_XNd: Tensor, k_XMd: Tensor, bias_hNM: Tensor, scale: float, log_sums_WhN: Tensor
) -> Tensor:
    """The weights (X, N, M) of images and heads X, in single precision or better.

    Of half precision they are powers of two of the scores less ``log_sums``: torch's
    softmax over so few keys costs more than such products, and its ``exp`` takes twenty
    times as long where weights are too small for normal numbers. In full precision
    softmax is exact where the gradient of the keys' bias, which is zero, shows it.
    """
    if upcast(bias_hNM).dtype == bias_hNM.dtype:
        scores_XNM = bias_hNM.repeat(len(log_sums_WhN), 1, 1)
        scores_XNM.baddbmm_(q_XNd, k_XMd.transpose(1, 2), alpha=scale)
        return scores_XNM.softmax(-1)
    ln2 = math.log(2)
    shifts_WhNM = upcast(bias_hNM) / ln2 - log_sums_WhN.unsqueeze(-1) / ln2
    scores_XNM = shifts_WhNM.flatten(0, 1)
    keys_XdM = upcast(k_XMd).transpose(1, 2)
    return scores_XNM.baddbmm_(upcast(q_XNd), keys_XdM, alpha=scale / ln2).exp2_()


class _BiasedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
    ) -> Tensor:
        out, log_sums = fused_attention(query, key, value, bias, scale)
        ctx.save_for_backward(query, key, value, bias, log_sums)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, log_sums = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (query, key, value)]
        grad_bias = attention_gradients(
            query, key, value, bias, ctx.scale, log_sums, grad, grads
        )
        return *grads, grad_bias, None
