"""Vision Longformer (ViL), the multi-scale backbone with sliding-chunk attention."""

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import FFN, PatchEmbed
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..checks import check_at_least, height_and_width
from ..layers.chunk_layout import attended_chunks
from ..layers.residual import add_branch, feed_forward
from .multi_stage import MultiStageBackbone, drop_path_rates, run_block
from .vil_attention import ViLChunkAttention, ViLFullAttention


class ViLBlock(BaseModule):
    """Pre-norm transformer block.

    Args:
        embed_dims: Width of the tokens.
        attn: The attention.
        drop_rate: Dropout of the feed-forward network.
        drop_path_rate: Stochastic depth rate.
        norm_cfg: Config of the norms.
    """

    def __init__(
        self,
        embed_dims: int,
        attn: nn.Module,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)
        self.attn = attn
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)
        self.ffn = FFN(
            embed_dims,
            4 * embed_dims,
            act_cfg=dict(type='GELU'),
            ffn_drop=drop_rate,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
        )

    def forward(self, x: Tensor, *attn_args: int | Tensor) -> Tensor:
        """Map tokens (B, T, C); ``attn_args`` are what the attention takes besides."""
        x = add_branch(x, self.attn(self.norm1(x), *attn_args), self.drop_path)
        out = feed_forward(self.ffn, self.norm2(x))
        return add_branch(x, out, self.ffn.dropout_layer)


class ViLStage(BaseModule):
    """Patch embedding, global tokens and blocks.

    Args:
        in_channels: Width of the incoming map.
        embed_dims: Width of this stage.
        patch_size: Side of a patch in incoming positions.
        num_heads: Number of heads.
        num_global_tokens: Number of global tokens; they are dropped at the end.
        attention: Config of the attention without the widths.
        drop_rate: Dropout.
        drop_path_rates: Stochastic depth rate of each block.
        qkv_bias: Whether query, key and value have a bias.
        norm_cfg: Config of the norms.
        with_cp: Recompute the blocks' activations in the backward pass.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        patch_size: int,
        num_heads: int,
        num_global_tokens: int,
        attention: dict,
        drop_rate: float,
        drop_path_rates: Sequence[float],
        qkv_bias: bool,
        norm_cfg: dict,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.embed = PatchEmbed(
            in_channels=in_channels,
            embed_dims=embed_dims,
            kernel_size=patch_size,
            stride=patch_size,
            norm_cfg=norm_cfg,
        )
        self.num_global_tokens = num_global_tokens
        if num_global_tokens:
            self.global_tokens = nn.Parameter(
                torch.zeros(1, num_global_tokens, embed_dims)
            )
        self.drop = nn.Dropout(drop_rate)
        options = dict(attention)
        build = options.pop('type')
        self.blocks = ModuleList(
            ViLBlock(
                embed_dims,
                build(
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    num_global_tokens=num_global_tokens,
                    qkv_bias=qkv_bias,
                    drop_rate=drop_rate,
                    **options,
                ),
                drop_rate,
                rate,
                norm_cfg,
            )
            for rate in drop_path_rates
        )
        # Set by ViL for training with one random neighbour.
        self.random: random.Random | None = None

    def init_weights(self) -> None:
        """Draw the global tokens from a truncated normal of std 0.02."""
        super().init_weights()
        if self.num_global_tokens:
            nn.init.trunc_normal_(self.global_tokens, std=0.02)

    def draw_neighbors(self, device: torch.device) -> Tensor | None:
        """The chunks (blocks, 2) that each attends to, block by block; None: all."""
        if not self.random or not self.training:
            return None
        return torch.stack(
            [attended_chunks(self.random.randrange(8), device) for _ in self.blocks]
        )

    def forward(self, x: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """Map a map (B, C, H, W) to one with channels last, (B, h, w, C')."""
        x, (height, width) = self.embed(x)
        if self.num_global_tokens:
            x = torch.cat([self.global_tokens.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.drop(x)
        for i, block in enumerate(self.blocks):
            attn_args: list[int | Tensor] = [height, width]
            if neighbors is not None:
                attn_args.append(neighbors[i])
            x = run_block(block, self.with_cp, x, *attn_args)
        return x[:, self.num_global_tokens :].unflatten(1, (height, width))


@MODELS.register_module()
class ViL(MultiStageBackbone):
    """Multi-scale Vision Longformer (arXiv 2103.15358), with relative positions.

    The first two stages use sliding-chunk attention, the last two full attention,
    and the first three have a global token, which is not passed on. Any input size
    works: partial chunks are masked, and the full attentions' biases are resized.

    For detection and segmentation set ``num_chunk_stages=3``. With the window of 7 it
    is the same network at 224 px, with the same weights, but its cost grows with the
    number of positions, not with its square, and position biases keep their offsets.

    Args:
        arch: 'tiny', EsViT's ViL-T (depths 2, 2, 6, 2), 'small', the ViL-Small of
            the ViL paper (depths 1, 2, 8, 1), or a dict with ``embed_dims``,
            ``depths`` and ``num_heads``. Defaults to 'tiny'.
        img_size: Input side in pixels that decides the size of the full attentions'
            bias tables, which are square: one number, or two equal ones. At any other
            size the biases are interpolated. Defaults to 224.
        in_channels: Number of input channels. Defaults to 3.
        patch_sizes: Patch side of each stage, in positions of the stage before.
            Defaults to (4, 2, 2, 2).
        window_size: Side of a chunk in positions. Defaults to 7.
        num_chunk_stages: So many stages, the first ones, use chunks. Defaults to 2.
        num_global_tokens: Global tokens of each stage. Defaults to (1, 1, 1, 0).
        random_neighbor: In training let each chunk attend to itself and to one
            random neighbour, drawn for each layer and call, instead of all 8.
            ``RandomNeighborHook`` seeds the draws and ends them late in training.
            In evaluation mode it is always all 8. Defaults to False.
        qkv_bias: Whether query, key and value have a bias. Defaults to True.
        drop_rate: Dropout rate. Defaults to 0.
        drop_path_rate: Stochastic depth rate of the last block, growing linearly
            from 0 at the first. Defaults to 0.1.
        out_indices: Stages whose output is returned, each after its own norm.
            Defaults to (3,).
        frozen_stages: Last stage that is not trained. Defaults to -1, none.
        with_cp: Recompute activations in the backward pass to save memory.
            Defaults to False.
        norm_cfg: Config of the norms. Defaults to ``dict(type='LN', eps=1e-6)``.
        init_cfg: Initialisation. Defaults to truncated normals of std 0.02 for
            linear weights, tokens and position biases, and zero biases.

    Raises:
        ValueError: If the architecture is unknown or its lists do not fit, a stage
            does not exist, ``img_size`` is oblong or no multiple of the patches'
            product, a patch or window is smaller than 1, or ``drop_path_rate`` is
            outside [0, 1).

    Example:
        >>> import torch
        >>> from esvit_plugin.models import ViL
        >>> backbone = ViL(arch='tiny')
        >>> [tuple(backbone(torch.rand(1, 3, s, s))[-1].shape) for s in (224, 96)]
        [(1, 768, 7, 7), (1, 768, 3, 3)]
    """

    arch_zoo = {
        'tiny': dict(
            embed_dims=[96, 192, 384, 768],
            depths=[2, 2, 6, 2],
            num_heads=[3, 6, 12, 24],
        ),
        'small': dict(
            embed_dims=[96, 192, 384, 768],
            depths=[1, 2, 8, 1],
            num_heads=[3, 3, 6, 12],
        ),
    }

    def __init__(
        self,
        arch: str | dict = 'tiny',
        img_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        patch_sizes: Sequence[int] = (4, 2, 2, 2),
        window_size: int = 7,
        num_chunk_stages: int = 2,
        num_global_tokens: Sequence[int] = (1, 1, 1, 0),
        random_neighbor: bool = False,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        with_cp: bool = False,
        norm_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        norm_cfg = norm_cfg or dict(type='LN', eps=1e-6)
        if init_cfg is None:
            init_cfg = [
                dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
                dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
            ]
        super().__init__(
            arch,
            out_indices,
            frozen_stages,
            window_size,
            drop_path_rate,
            min(patch_sizes[:1], default=1),
            norm_cfg,
            init_cfg,
        )
        lists = dict(patch_sizes=patch_sizes, num_global_tokens=num_global_tokens)
        for name, values in lists.items():
            if len(values) != self.num_layers:
                raise ValueError(
                    f'ViL: {name} needs one number for each of {self.num_layers} '
                    f'stages, got {tuple(values)}.'
                )
        check_at_least(
            'ViL', 1, 'the paper uses 4, 2, 2, 2', patch_sizes=min(patch_sizes)
        )
        side, width = height_and_width('ViL', img_size)
        if side != width:
            raise ValueError(
                f'ViL: img_size must be one number, got {img_size}, as its tables of '
                'biases are square; images may have any height and width all the same.'
            )
        check_at_least(
            'ViL',
            math.prod(patch_sizes),
            f'the last stage of the patches {tuple(patch_sizes)} needs a position',
            img_size=img_size,
        )
        self.img_size = side
        self.stages = ModuleList()
        grid, width = side, in_channels
        rates = drop_path_rates(drop_path_rate, self.depths)
        for i, patch_size in enumerate(patch_sizes):
            if grid % patch_size:
                raise ValueError(
                    f'ViL: img_size={img_size} is no multiple of the patches '
                    f'{tuple(patch_sizes)}: stage {i} would cut {grid} positions '
                    f'into patches of {patch_size}.'
                )
            grid //= patch_size
            stage = ViLStage(
                in_channels=width,
                embed_dims=self.num_features[i],
                patch_size=patch_size,
                num_heads=self.arch_settings['num_heads'][i],
                num_global_tokens=num_global_tokens[i],
                attention=dict(type=ViLChunkAttention, window_size=window_size)
                if i < num_chunk_stages
                else dict(type=ViLFullAttention, grid=grid),
                drop_rate=drop_rate,
                drop_path_rates=rates[i],
                qkv_bias=qkv_bias,
                norm_cfg=norm_cfg,
                with_cp=with_cp,
            )
            self.stages.append(stage)
            width = self.num_features[i]
        self.num_chunk_stages = num_chunk_stages
        self.set_random_neighbor(random_neighbor)
        self.train()

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run the stages on images (B, 3, H, W), in training with drawn neighbours."""
        if not self.random_neighbor or not self.training:
            return super().__call__(x)
        return super().__call__(x, self._draw_neighbors(x.device))

    # Numbers drawn within a graph would be the same in every call.
    @torch.compiler.disable
    def _draw_neighbors(self, device: torch.device) -> list[Tensor | None]:
        return [stage.draw_neighbors(device) for stage in self.stages]

    def set_random_neighbor(self, active: bool) -> None:
        """Switch training with one random neighbour on or off."""
        self.random_neighbor = active
        for stage in self.stages[: self.num_chunk_stages]:
            stage.random = random.Random() if active else None
        self.seed_neighbors(0)

    def seed_neighbors(self, seed: int | str) -> None:
        """Start the draws of random neighbours anew; equal seeds, equal draws."""
        for i, stage in enumerate(self.stages):
            if stage.random:
                stage.random.seed(f'{seed}-{i}')

    def _pool(self, block: Any, tokens: Tensor) -> Tensor:
        """The global token where there is one, as in the released evaluation."""
        if block.attn.num_global_tokens:
            return tokens[:, 0]
        return super()._pool(block, tokens)
