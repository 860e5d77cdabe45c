"""Attention weights of mmpretrain's and timm's modules, from their own layers.

For their windows without cosines see ``window_weights`` of ``models.layers``.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.layers.attention_scores import vit_scores
from ..models.layers.biased_attention import attention_weights


def vit_weights(attn: Any, x: Tensor) -> Tensor:
    """Weights of a ViT's attention of all tokens to all, before dropout.

    Args:
        attn: mmpretrain's ``MultiheadAttention`` or timm's ``Attention``.
        x: Tokens, shape (B, T, C).

    Returns:
        Tensor of shape (B, heads, T, T).
    """
    return vit_scores(attn, x).softmax(-1)


def cosine_window_weights(
    attn: Any, windows: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Weights of Swin V2's attention within windows, before dropout.

    Scores are cosines with a trained factor for each head, and a small network gives
    the position bias.

    Args:
        attn: mmpretrain's ``WindowMSAV2``.
        windows: Their positions, shape (W, N, C), image by image.
        mask: Added to the scores of the windows of each image, shape
            (W / images, N, N). Defaults to None.

    Returns:
        Tensor of shape (W, heads, N, N).
    """
    qkv_bias = None
    if attn.q_bias is not None:  # keys have none
        qkv_bias = torch.cat([attn.q_bias, 0 * attn.q_bias, attn.v_bias])
    qkv = F.linear(windows, attn.qkv.weight, qkv_bias)
    qkv = qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, key, _ = qkv.unbind(0)
    factor = attn.logit_scale.clamp(max=math.log(100)).exp()
    table = attn.cpb_mlp(attn.relative_coords_table).view(-1, attn.num_heads)
    bias = 16 * table[attn.relative_position_index].permute(2, 0, 1).sigmoid()
    if mask is not None:
        bias = bias + mask.repeat(len(windows) // len(mask), 1, 1).unsqueeze(1)
    query = factor * F.normalize(query, dim=-1)
    return attention_weights(query, F.normalize(key, dim=-1), bias, 1.0)
