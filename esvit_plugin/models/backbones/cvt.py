"""Convolutional vision transformer (CvT) with window attention.

Suffixes of names give shapes:

    B  images                  Y, X  rows and columns of the padded map
    C  channels, h d           r, c  rows and columns of windows
    h  heads                   W  windows of all images, B r c
    d  channels of a head      s  side of a window; S  its positions, s s
"""

import copy
from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import FFN, PatchEmbed
from mmengine.model import BaseModule, ModuleList
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..layers.biased_attention import attention_weights
from ..layers.residual import add_branch, feed_forward
from ..plain import use_plain
from .multi_stage import MultiStageBackbone, drop_path_rates, run_block


class ConvWindowAttention(BaseModule):
    """Attention in windows, after a depth-wise convolution.

    The map is zero-padded to a multiple of the window before the convolution, and
    padded positions take part in attention.

    Args:
        embed_dims: Width of the map.
        num_heads: Number of heads.
        window_size: Side of a window in positions.
        qkv_bias: Whether query, key and value have a bias.
        conv_norm_cfg: Config of the norm after the convolution.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        qkv_bias: bool,
        conv_norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        # As the released weights: by the whole width, not by that of a head.
        self.scale = embed_dims**-0.5
        self.conv = nn.Conv2d(
            embed_dims, embed_dims, 3, padding=1, groups=embed_dims, bias=False
        )
        self.conv_norm = build_norm_layer(conv_norm_cfg, embed_dims)
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        height, width = x.shape[1:3]
        rows, cols, side = self._windows(height, width)
        q_WhSd, k_WhSd, v_WhSd = self._heads(x, self.conv_norm).unbind(0)
        if use_plain():
            weights_WhSS = attention_weights(q_WhSd, k_WhSd, None, self.scale)
            out_WhSd = weights_WhSS.to(v_WhSd.dtype) @ v_WhSd
        else:
            out_WhSd = F.scaled_dot_product_attention(
                q_WhSd, k_WhSd, v_WhSd, scale=self.scale
            )
        out_WssC = out_WhSd.transpose(1, 2).flatten(2).unflatten(1, (side, side))
        out_BrscsC = out_WssC.unflatten(0, (-1, rows, cols)).transpose(2, 3)
        out_BYXC = out_BrscsC.flatten(3, 4).flatten(1, 2)
        return self.proj(out_BYXC[:, :height, :width])

    def attention_weights(self, x: Tensor) -> Tensor:
        """The weights of an input.

        Args:
            x: Maps, shape (B, H, W, C).

        Returns:
            Tensor of shape (B windows, heads, N, N) for windows of N positions, padded
            ones among them; the windows image by image and row by row.
        """
        # In training mode a batch norm counts what it sees: here a copy does.
        q_WhSd, k_WhSd, _ = self._heads(x, copy.deepcopy(self.conv_norm)).unbind(0)
        return attention_weights(q_WhSd, k_WhSd, None, self.scale)

    def _windows(self, height: int, width: int) -> tuple[int, int, int]:
        """Rows and columns of windows on a map, and the side of each."""
        side = min(self.window_size, height, width)
        return -(-height // side), -(-width // side), side

    def _heads(self, x: Tensor, conv_norm: nn.Module) -> Tensor:
        """Queries, keys and values of maps (B, H, W, C), (3, W, heads, S, d)."""
        height, width = x.shape[1:3]
        rows, cols, side = self._windows(height, width)
        x_BYXC = F.pad(x, (0, 0, 0, cols * side - width, 0, rows * side - height))
        x_BCYX = conv_norm(self.conv(x_BYXC.permute(0, 3, 1, 2)))
        qkv_BYX3hd = self.qkv(x_BCYX.permute(0, 2, 3, 1)).unflatten(
            -1, (3, self.num_heads, -1)
        )
        qkv_Brscs3hd = qkv_BYX3hd.unflatten(2, (cols, side)).unflatten(1, (rows, side))
        qkv_3Brchssd = qkv_Brscs3hd.permute(5, 0, 1, 3, 6, 2, 4, 7)
        return qkv_3Brchssd.flatten(5, 6).flatten(1, 3)


class CvTBlock(BaseModule):
    """Pre-norm transformer block on maps with channels last.

    Args:
        embed_dims: Width of the map.
        num_heads: Number of heads.
        window_size: Side of a window in positions.
        qkv_bias: Whether query, key and value have a bias.
        drop_path_rate: Stochastic depth rate.
        norm_cfg: Config of the layer norms.
        conv_norm_cfg: Config of the norm after the depth-wise convolution.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        qkv_bias: bool,
        drop_path_rate: float,
        norm_cfg: dict,
        conv_norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)
        self.attn = ConvWindowAttention(
            embed_dims, num_heads, window_size, qkv_bias, conv_norm_cfg
        )
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)
        self.ffn = FFN(
            embed_dims,
            4 * embed_dims,
            act_cfg=dict(type='mmpretrain.QuickGELU'),
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        x = add_branch(x, self.attn(self.norm1(x)), self.drop_path)
        out = feed_forward(self.ffn, self.norm2(x))
        return add_branch(x, out, self.ffn.dropout_layer)


class CvTStage(BaseModule):
    """Convolutional token embedding and blocks.

    Args:
        embed: Config of the embedding, a ``PatchEmbed`` of mmcv.
        drop_path_rates: Stochastic depth rate of each block.
        with_cp: Recompute the blocks' activations in the backward pass.
        **kwargs: Other options of ``CvTBlock``.
    """

    def __init__(
        self,
        embed: dict,
        drop_path_rates: Sequence[float],
        with_cp: bool,
        **kwargs: object,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.embed = PatchEmbed(**embed)
        self.blocks = ModuleList(
            CvTBlock(drop_path_rate=rate, **kwargs)  # type: ignore[arg-type]
            for rate in drop_path_rates
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map a map (B, C, H, W) to one with channels last, (B, h, w, C')."""
        x, shape = self.embed(x)
        x = x.unflatten(1, shape)
        for block in self.blocks:
            x = run_block(block, self.with_cp, x)
        return x


@MODELS.register_module()
class CvT(MultiStageBackbone):
    """Convolutional vision transformer with window attention, as EsViT uses it.

    Overlapping convolutions embed the tokens of each stage. Query, key and value
    come from one depth-wise 3x3 convolution with batch norm; attention is within
    windows, which do not shift and have no position bias (CvT, arXiv 2103.15808,
    attends globally instead). A map smaller than the window is one window.

    Args:
        arch: 'tiny', EsViT's CvT-T (widths 64 to 768, depths 2, 2, 6, 2), 'small'
            (widths 64 to 512, depths 2, 2, 10, 4), or a dict with ``embed_dims``,
            ``depths`` and ``num_heads``. Defaults to 'tiny'.
        in_channels: Number of input channels. Defaults to 3.
        window_size: Side of a window in positions. Defaults to 7.
        qkv_bias: Whether query, key and value have a bias. Defaults to True.
        drop_path_rate: Stochastic depth rate of the last block, growing linearly
            from 0 at the first. Defaults to 0.1.
        out_indices: Stages whose output is returned, each after its own norm.
            Defaults to (3,).
        frozen_stages: Last stage that is not trained. Defaults to -1, none.
        norm_eval: Keep batch norms in evaluation mode, as detectors do with small
            batches. Defaults to False.
        with_cp: Recompute activations in the backward pass to save memory; batch
            norms then update their statistics twice a step. Defaults to False.
        norm_cfg: Config of the layer norms. Defaults to
            ``dict(type='LN', eps=1e-5)``.
        conv_norm_cfg: Config of the norm after the depth-wise convolutions.
            Defaults to ``dict(type='BN')``.
        init_cfg: Initialisation. Defaults to truncated normals of std 0.02 for
            linear and convolution weights, and zero biases.

    Raises:
        ValueError: If the architecture is unknown or its lists do not fit, a stage
            does not exist, the window is smaller than 1 or ``drop_path_rate`` is
            outside [0, 1).

    Example:
        >>> import torch
        >>> from esvit_plugin.models import CvT
        >>> backbone = CvT(arch='tiny')
        >>> [tuple(backbone(torch.rand(1, 3, s, s))[-1].shape) for s in (224, 96)]
        [(1, 768, 7, 7), (1, 768, 3, 3)]
    """

    arch_zoo = {
        'tiny': dict(
            embed_dims=[64, 192, 384, 768],
            depths=[2, 2, 6, 2],
            num_heads=[1, 3, 6, 12],
        ),
        'small': dict(
            embed_dims=[64, 128, 256, 512],
            depths=[2, 2, 10, 4],
            num_heads=[2, 4, 8, 16],
        ),
    }

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        window_size: int = 7,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict | None = None,
        conv_norm_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        norm_cfg = norm_cfg or dict(type='LN', eps=1e-5)
        if init_cfg is None:
            init_cfg = [
                dict(type='TruncNormal', layer=['Linear', 'Conv2d'], std=0.02),
                dict(type='Constant', layer=['LayerNorm', '_BatchNorm'], val=1.0),
            ]
        super().__init__(
            arch,
            out_indices,
            frozen_stages,
            window_size,
            drop_path_rate,
            4,  # the stride of the first embedding
            norm_cfg,
            init_cfg,
        )
        self.norm_eval = norm_eval
        self.stages = ModuleList()
        widths = [in_channels, *self.num_features]
        rates = drop_path_rates(drop_path_rate, self.depths)
        for i, rate in enumerate(rates):
            first = i == 0
            stage = CvTStage(
                embed=dict(
                    in_channels=widths[i],
                    embed_dims=widths[i + 1],
                    kernel_size=7 if first else 3,
                    stride=4 if first else 2,
                    padding=2 if first else 1,
                    norm_cfg=norm_cfg,
                ),
                embed_dims=widths[i + 1],
                num_heads=self.arch_settings['num_heads'][i],
                window_size=window_size,
                qkv_bias=qkv_bias,
                drop_path_rates=rate,
                norm_cfg=norm_cfg,
                conv_norm_cfg=conv_norm_cfg or dict(type='BN'),
                with_cp=with_cp,
            )
            self.stages.append(stage)
        self.train()

    def train(self, mode: bool = True) -> 'CvT':
        """Switch the mode; frozen stages and fixed norms stay in evaluation mode."""
        super().train(mode)
        if mode and self.norm_eval:
            for layer in self.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self
