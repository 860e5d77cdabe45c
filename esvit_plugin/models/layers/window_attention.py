"""Attention of many small windows with one bias.

Suffixes of names give shapes:

    W  windows of all images   N  positions of a window
    h  heads                   M  keys of a window: N, or N + 1 with that of padding
    d  channels of a head
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..plain import use_plain
from ..utils import is_traced
from .biased_attention import (
    attention_gradients,
    attention_weights,
    computes_weights_again,
    fused_attention,
    gather_bias,
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
        bias: Added to the scores, shape (heads, N, N), or (heads, N, N + 1) if
            there is a further key.
        pad: Key and value that all windows have besides their own, shape
            (2, heads, d). Defaults to None.
        scale: Factor of the scores. Defaults to 1.
        dropout: Probability of dropping a weight. Defaults to 0.

    Returns:
        Tensor of shape (W, N, heads d).
    """
    if computes_weights_again(qkv) and not dropout and not use_plain():
        return _WindowAttention.apply(qkv, bias, pad, scale)
    q_WhNd, k_WhMd, v_WhMd = _split_heads(qkv, pad)
    if use_plain():
        weights_WhNM = attention_weights(q_WhNd, k_WhMd, bias, scale)
        out_WhNd = F.dropout(weights_WhNM, dropout).to(v_WhMd.dtype) @ v_WhMd
    else:
        out_WhNd = F.scaled_dot_product_attention(
            q_WhNd, k_WhMd, v_WhMd, bias.unsqueeze(0), dropout, scale=scale
        )
    return _merge_heads(out_WhNd)


def window_weights(attn: Any, windows: Tensor, mask: Tensor | None = None) -> Tensor:
    """Weights of mmpretrain's or timm's attention within windows, before dropout.

    Args:
        attn: mmpretrain's ``WindowMSA`` or timm's ``WindowAttention``.
        windows: Their positions, shape (W, N, C), image by image.
        mask: Added to the scores of the windows of each image, shape
            (W / images, N, N). Defaults to None.

    Returns:
        Tensor of shape (W, heads, N, N).
    """
    q_WhNd, k_WhNd, _ = _split_heads(
        attn.qkv(windows).unflatten(-1, (3, attn.num_heads, -1)), None
    )
    bias = relative_bias(attn)
    if mask is not None:
        bias = bias + mask.repeat(len(windows) // len(mask), 1, 1).unsqueeze(1)
    return attention_weights(q_WhNd, k_WhNd, bias, attn.scale)


def relative_bias(attn: Any) -> Tensor:
    """Position bias (heads, N, N) of Swin's attention in mmpretrain or timm."""
    return gather_bias(attn.relative_position_bias_table, attn.relative_position_index)


def reorder(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """``x[:, order]`` whose gradient is a gather too, by the inverse of the order.

    Args:
        x: Rows, shape (1, N, C); (B, N, C) in ``torch.jit.trace`` and the plain twin.
        order: A permutation, shape (N,).
        inverse: Its inverse, shape (N,).
    """
    if use_plain() or is_traced():
        return x[:, order]
    return _Reorder.apply(x, order, inverse)


class _Reorder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.inverse, ctx.order = inverse, order
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return reorder(grad, ctx.inverse, ctx.order), None, None


def _split_heads(
    qkv_WN3hd: Tensor, pad_2hd: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (W, heads, N, d); keys and values (W, heads, M, d), the further last."""
    q_WhNd, k_WhNd, v_WhNd = qkv_WN3hd.permute(2, 0, 3, 1, 4).unbind(0)
    if pad_2hd is None:
        return q_WhNd, k_WhNd, v_WhNd
    num_windows = qkv_WN3hd.shape[0]
    pad_2Wh1d = pad_2hd[:, None, :, None].expand(-1, num_windows, -1, -1, -1)
    k_WhMd = torch.cat([k_WhNd, pad_2Wh1d[0]], 2)
    v_WhMd = torch.cat([v_WhNd, pad_2Wh1d[1]], 2)
    return q_WhNd, k_WhMd, v_WhMd


def _merge_heads(out_WhNd: Tensor) -> Tensor:
    """Shape (W, N, heads d)."""
    return out_WhNd.transpose(1, 2).flatten(2)


class _WindowAttention(torch.autograd.Function):
    """Attention that keeps ``qkv`` for the backward pass: no weights, no wider keys."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv_WN3hd: Tensor,
        bias_hNM: Tensor,
        pad_2hd: Tensor | None,
        scale: float,
    ) -> Tensor:
        heads = _split_heads(qkv_WN3hd, pad_2hd)
        out_WhNd, log_sums_WhN = fused_attention(*heads, bias_hNM, scale)
        ctx.save_for_backward(qkv_WN3hd, bias_hNM, pad_2hd, log_sums_WhN)
        ctx.scale = scale
        return _merge_heads(out_WhNd)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv_WN3hd, bias_hNM, pad_2hd, log_sums_WhN = ctx.saved_tensors
        grad_WhNd = grad.unflatten(2, qkv_WN3hd.shape[3:]).transpose(1, 2)
        heads = _split_heads(qkv_WN3hd, pad_2hd)
        grad_qkv_WN3hd = torch.empty_like(qkv_WN3hd)
        grads = _split_heads(grad_qkv_WN3hd, None)
        if pad_2hd is not None:  # of one key more than the windows have
            grad_kv_2WhMd = qkv_WN3hd.new_empty(2, *heads[1].shape)
            grads = grads[0], *grad_kv_2WhMd.unbind(0)
        grad_bias_hNM = attention_gradients(
            *heads, bias_hNM, ctx.scale, log_sums_WhN, grad_WhNd, grads
        )
        grad_pad_2hd = None
        if pad_2hd is not None:
            grad_qkv_WN3hd[:, :, 1:] = grad_kv_2WhMd[..., :-1, :].permute(1, 3, 0, 2, 4)
            # Of all windows, which share this key and value.
            grad_pad_2hd = grad_kv_2WhMd[..., -1, :].sum(1)
        return grad_qkv_WN3hd, grad_bias_hNM, grad_pad_2hd, None
