"""Blocks of Swin with mmpretrain's parameters and little besides the products."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.utils import PatchMerging, ShiftWindowMSA
from torch import Tensor

from ..layers.residual import add_branch, feed_forward
from ..layers.window_attention import reorder, window_attention
from ..layers.window_layout import WindowGroup, window_layout
from .multi_stage import run_block


class WindowAttention(ShiftWindowMSA):
    """mmpretrain's attention in shifted windows, of the positions that exist.

    One gather brings the positions into the order of the windows and another one
    back, whatever shift and padding. Padded positions have zeros before the
    projection: all their keys are the key's bias and all their values the value's.
    So they are not projected, and are one key of each window whose bias is the
    logarithm of the sum of their exponentials. They are no queries.

    Args:
        attn: The module whose parameters and settings to take over.
    """

    def __init__(self, attn: ShiftWindowMSA) -> None:
        BaseModule.__init__(self, attn.init_cfg)
        self.shift_size, self.window_size = attn.shift_size, attn.window_size
        self.pad_small_map = attn.pad_small_map
        self.w_msa, self.drop = attn.w_msa, attn.drop

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within the windows of maps (B, H W, C) of height and width (H, W).

        Stochastic depth is left to the block.
        """
        inner = self.w_msa
        layout = window_layout(
            len(x), *hw_shape, self.window_size, self.shift_size, x.device
        )
        rows = reorder(x.flatten(0, 1), layout.order, layout.inverse)
        qkv = inner.qkv(rows).unflatten(-1, (3, inner.num_heads, -1))
        bias = inner.relative_position_bias_table[inner.relative_position_index]
        bias = bias.permute(2, 0, 1)
        sizes = [group.num_windows * len(group.real) for group in layout.groups]
        outs = []
        for group, part in zip(layout.groups, qkv.split(sizes), strict=True):
            part = part.unflatten(0, (group.num_windows, -1))
            pad, pair_bias = self._padding(group, part, bias)
            out = window_attention(
                part,
                pair_bias.to(part.dtype),
                pad,
                inner.scale,
                inner.attn_drop.p if self.training else 0.0,
            )
            outs.append(out.flatten(0, 1))
        out = outs[0] if len(outs) == 1 else torch.cat(outs)
        out = inner.proj_drop(inner.proj(out))
        return reorder(out, layout.inverse, layout.order).view(x.shape)

    def _padding(
        self, group: WindowGroup, qkv: Tensor, bias: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Key and value (2, heads, d) of padding, and the bias of all keys."""
        padded = len(group.padding) > 0
        if padded:
            bias = bias[:, group.real]
        if group.mask is not None:
            bias = bias + group.mask
        if not padded:
            return None, bias
        padding = bias[..., group.padding].logsumexp(-1, keepdim=True)
        # Without biases of the projection, keys and values are zeros.
        pad = qkv.new_zeros(2, *qkv.shape[-2:])
        if self.w_msa.qkv.bias is not None:
            pad = self.w_msa.qkv.bias.view(3, *qkv.shape[-2:])[1:].to(qkv.dtype)
        return pad, torch.cat([bias[..., group.real], padding], -1)


class FusedSwinBlock(SwinBlock):
    """mmpretrain's ``SwinBlock`` that computes and keeps less.

    Args:
        block: The module whose parameters and settings to take over.
    """

    def __init__(self, block: SwinBlock) -> None:
        BaseModule.__init__(self, block.init_cfg)
        self.with_cp = block.with_cp
        self.norm1, self.norm2, self.ffn = block.norm1, block.norm2, block.ffn
        self.attn = WindowAttention(block.attn)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform maps (B, H W, C) of height and width (H, W)."""
        return run_block(self._forward, self.with_cp, x, hw_shape)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        x = add_branch(x, self.attn(self.norm1(x), hw_shape), self.attn.drop)
        out = feed_forward(self.ffn, self.norm2(x))
        return add_branch(x, out, self.ffn.dropout_layer)


class FusedPatchMerging(PatchMerging):
    """mmpretrain's ``PatchMerging`` that moves weights instead of pixels.

    mmpretrain's order of the merged inputs, channels outermost, tears pixels apart.
    Here each pixel stays in one piece, and the few weights are put in order.

    Args:
        merge: The module whose parameters and settings to take over.
    """

    def __init__(self, merge: PatchMerging) -> None:
        BaseModule.__init__(self, merge.init_cfg)
        self.in_channels, self.out_channels = merge.in_channels, merge.out_channels
        self.norm, self.reduction = merge.norm, merge.reduction

    def forward(
        self, x: Tensor, input_size: tuple[int, int]
    ) -> tuple[Tensor, tuple[int, int]]:
        """Merge maps (B, H W, C) into (B, ceil(H/2) ceil(W/2), C'), with their size."""
        height, width = input_size
        x = x.unflatten(1, input_size)
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        size = x.shape[1], x.shape[3]
        x = x.transpose(2, 3).reshape(len(x), size[0] * size[1], -1)

        def pixel_by_pixel(weight: Tensor) -> Tensor:
            weight = weight.unflatten(-1, (self.in_channels, 4))
            return weight.transpose(-2, -1).flatten(-2)

        norm: Any = self.norm
        weight, bias = pixel_by_pixel(norm.weight), pixel_by_pixel(norm.bias)
        x = F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
        return F.linear(x, pixel_by_pixel(self.reduction.weight)), size
