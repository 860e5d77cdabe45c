"""Faster blocks of Swin, with the parameters of mmpretrain's and mmcv's own."""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import PatchMerging
from mmengine.model import BaseModule
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor

from ..layers.residual import add_branch, feed_forward
from ..layers.window_attention import (
    relative_bias,
    reorder,
    window_attention,
    window_weights,
)
from ..layers.window_layout import WindowGroup, window_layout
from ..plain import use_plain
from ..utils import is_traced
from .multi_stage import run_block


class WindowAttention(ShiftWindowMSA):
    """mmpretrain's attention in shifted windows, without the work for padding.

    Whatever the shift and the padding, one gather puts the positions of the map in
    the order of the windows, and another one puts them back.

    Padding is a zero vector, so after the projection every padded position has the
    same key and value: the biases of the projection. In a softmax, equal keys with
    the position biases b_1 ... b_n weigh as much together as one key with the bias
    log(exp b_1 + ... + exp b_n). A window with padding therefore has one further key
    for all of it. As queries padded positions are left out: what they would get is
    cut off with the padding.

    The plain twin is mmpretrain's forward pass.

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

        Stochastic depth is left to the block; the plain twin has it in here.
        """
        if use_plain():
            return super().forward(x, hw_shape)
        inner = self.w_msa
        # What is traced shall take other numbers of images: the layout is of one then.
        # Otherwise windows of a kind of all images lie together.
        together = not is_traced()
        layout = window_layout(
            len(x) if together else 1,
            *hw_shape,
            self.window_size,
            self.shift_size,
            x.device,
        )
        rows = x.flatten(0, 1).unsqueeze(0) if together else x
        rows = reorder(rows, layout.order, layout.inverse)
        qkv = inner.qkv(rows).unflatten(-1, (3, inner.num_heads, -1))
        bias = relative_bias(inner)
        sizes = [group.num_windows * len(group.real) for group in layout.groups]
        outs = []
        for group, group_qkv in zip(layout.groups, qkv.split(sizes, 1), strict=True):
            group_qkv = group_qkv.unflatten(1, (group.num_windows, -1)).flatten(0, 1)
            pad, key_bias = self._padding(group, group_qkv, bias)
            out = window_attention(
                group_qkv,
                key_bias.to(group_qkv.dtype),
                pad,
                inner.scale,
                inner.attn_drop.p if self.training else 0.0,
            )
            outs.append(out.unflatten(0, (-1, group.num_windows)).flatten(1, 2))
        out = outs[0] if len(outs) == 1 else torch.cat(outs, 1)
        out = inner.proj_drop(inner.proj(out))
        return reorder(out, layout.inverse, layout.order).view(x.shape)

    def attention_weights(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """The weights of an input, before dropout.

        Args:
            x: Maps, shape (B, H W, C).
            hw_shape: Height and width (H, W).

        Returns:
            Tensor of shape (B windows, heads, N, N) for windows of N positions, padded
            ones among them. Windows are those of the padded and shifted map, image by
            image and row by row.
        """
        (height, width), side, shift = hw_shape, self.window_size, self.shift_size
        x = x.unflatten(1, (height, width))
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        x = x.roll((-shift, -shift), (1, 2))
        mask = self.get_attn_mask(x.shape[1:3], side, shift, x.device)
        windows = self.window_partition(x, side).flatten(1, 2)
        return window_weights(self.w_msa, windows, mask)

    def _padding(
        self, group: WindowGroup, qkv: Tensor, bias: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """What one group of windows does about its padding.

        Args:
            group: Windows whose padding is at the same R real and N - R padded places.
            qkv: Their projections, shape (windows, R, 3, heads, d).
            bias: Position bias of whole windows, shape (heads, N, N).

        Returns:
            Key and value (2, heads, d) that stand for the padding, None if there is
            none; and the bias (heads, R, R + 1), or (heads, N, N), of real queries
            and of all keys, the one for the padding last.
        """
        has_padding = len(group.padding) > 0
        if has_padding:
            bias = bias[:, group.real]
        if group.mask is not None:
            bias = bias + group.mask
        if not has_padding:
            return None, bias
        pad_bias = bias[..., group.padding].logsumexp(-1, keepdim=True)
        # Without biases of the projection, keys and values are zeros.
        pad = qkv.new_zeros(2, *qkv.shape[-2:])
        if self.w_msa.qkv.bias is not None:
            pad = self.w_msa.qkv.bias.view(3, *qkv.shape[-2:])[1:].to(qkv.dtype)
        return pad, torch.cat([bias[..., group.real], pad_bias], -1)


class FusedSwinBlock(SwinBlock):
    """mmpretrain's ``SwinBlock`` that computes and keeps less; its plain twin is that.

    Args:
        block: The module whose parameters and settings to take over.
    """

    def __init__(self, block: SwinBlock) -> None:
        BaseModule.__init__(self, block.init_cfg)
        # mmpretrain's forward pass shall not recompute activations on top of run_block.
        self.with_cp, self.recompute = False, block.with_cp
        self.norm1, self.norm2, self.ffn = block.norm1, block.norm2, block.ffn
        self.attn = WindowAttention(block.attn)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform maps (B, H W, C) of height and width (H, W)."""
        forward = super().forward if use_plain() else self._forward
        return run_block(forward, self.recompute, x, hw_shape)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        x = add_branch(x, self.attn(self.norm1(x), hw_shape), self.attn.drop)
        out = feed_forward(self.ffn, self.norm2(x))
        return add_branch(x, out, self.ffn.dropout_layer)


class FusedPatchMerging(PatchMerging):
    """mmcv's ``PatchMerging`` that moves weights instead of pixels.

    mmcv orders the merged inputs channel by channel, four pixels each, which
    copies every number to another place. Here the channels of a pixel stay together,
    and the weights, which are few, are brought into that order. The plain twin is
    mmcv's forward pass.

    Args:
        merge: The module whose parameters and settings to take over.
    """

    def __init__(self, merge: PatchMerging) -> None:
        BaseModule.__init__(self, merge.init_cfg)
        self.in_channels, self.out_channels = merge.in_channels, merge.out_channels
        self.norm, self.reduction = merge.norm, merge.reduction
        # For the plain twin; they have no parameters.
        self.adaptive_padding, self.sampler = merge.adaptive_padding, merge.sampler

    def forward(
        self, x: Tensor, input_size: tuple[int, int]
    ) -> tuple[Tensor, tuple[int, int]]:
        """Merge maps (B, H W, C) into (B, ceil(H/2) ceil(W/2), C'), with their size."""
        if use_plain():
            return super().forward(x, input_size)
        height, width = input_size
        x = x.unflatten(1, input_size)
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        size = x.shape[1], x.shape[3]
        x = x.transpose(2, 3).reshape(x.shape[0], size[0] * size[1], -1)

        def pixel_by_pixel(weight: Tensor) -> Tensor:
            weight = weight.unflatten(-1, (self.in_channels, 4))
            return weight.transpose(-2, -1).flatten(-2)

        norm: Any = self.norm
        weight, bias = pixel_by_pixel(norm.weight), pixel_by_pixel(norm.bias)
        x = F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
        return F.linear(x, pixel_by_pixel(self.reduction.weight)), size
