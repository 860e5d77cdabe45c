"""Attention scores of a plain ViT, which fused kernels do not return."""

from typing import Any

from torch import Tensor

from ..utils import upcast


def vit_scores(attn: Any, x: Tensor) -> Tensor:
    """Scores q k / sqrt(d) of all tokens with all, before the softmax.

    In single precision or better, but within autocast.

    Args:
        attn: mmpretrain's ``MultiheadAttention`` or timm's ``Attention``.
        x: Its input, tokens of shape (B, T, C).

    Returns:
        Tensor of shape (B, heads, T, T).
    """
    qkv = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1))
    query, key, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    if hasattr(attn, 'q_norm'):  # of timm
        query, key = attn.q_norm(query), attn.k_norm(key)
    scale = query.shape[-1] ** -0.5
    return scale * upcast(query) @ upcast(key).transpose(-2, -1)
