"""Self-attention of a backbone's last block."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import (
    SwinTransformer,
    SwinTransformerV2,
    TIMMBackbone,
    VisionTransformer,
)
from mmpretrain.models.utils import MultiheadAttention, ShiftWindowMSA, WindowMSAV2
from torch import Tensor, nn

from ..models import CvT, ViL
from ..models.backbones.cvt import ConvWindowAttention
from ..models.backbones.swin_blocks import WindowAttention
from ..models.backbones.vil_attention import ViLChunkAttention, ViLFullAttention
from ..models.layers.window_attention import window_weights
from ..models.vit_blocks import find_vit_blocks
from .module_calls import module_calls
from .stock_attention import cosine_window_weights, vit_weights

_BACKBONES = (SwinTransformer, SwinTransformerV2, ViL, CvT, VisionTransformer)
_ATTENTIONS = (
    ShiftWindowMSA,
    ConvWindowAttention,
    ViLChunkAttention,
    ViLFullAttention,
    MultiheadAttention,
)
# A position of the last map, (row, column), or the class token, 'cls'.
Query = tuple[int, int] | str


class BlockAttention(NamedTuple):
    """Attention weights of one block.

    Args:
        weights: Shape (B, heads, E + T, E + T), a row for each query: first E extra
            tokens (class or global ones), then the positions of the map, row by row.
            0 outside a query's window. A row sums to 1, or to less where padding
            around the map takes part in the attention.
        num_extra: E.
        grid: Height and width of the map, whose product is T.
    """

    weights: Tensor
    num_extra: int
    grid: tuple[int, int]

    @property
    def positions(self) -> Tensor:
        """Weights (B, heads, T, T) among the positions alone."""
        return self.weights[..., self.num_extra :, self.num_extra :]

    def of_query(self, query: Query) -> Tensor:
        """Where a query looks: its weights (B, heads, H, W) in their places.

        Args:
            query: A position (row, column) of the map, or 'cls' for the class token.

        Raises:
            ValueError: If the map has no such position, or there is no class token.
        """
        height, width = self.grid
        if isinstance(query, str):
            if query != 'cls' or not self.num_extra:
                raise ValueError(
                    f'There is no query {query!r}: the last block has '
                    f'{self.num_extra} class tokens; give positions ROW,COL.'
                )
            index = 0
        else:
            row, col = query
            if not (0 <= row < height and 0 <= col < width):
                raise ValueError(
                    f'The query {row},{col} lies outside the last map, whose rows are '
                    f'0 to {height - 1} and columns 0 to {width - 1}.'
                )
            index = self.num_extra + row * width + col
        return self.weights[:, :, index, self.num_extra :].unflatten(2, self.grid)

    def default_queries(self) -> list[Query]:
        """The class token, if any, the centre and the middles of the four quarters."""
        queries: list[Query] = ['cls'] if self.num_extra else []
        for y, x in ((2, 2), (1, 1), (1, 3), (3, 1), (3, 3)):
            query = (self.grid[0] * y // 4, self.grid[1] * x // 4)
            if query not in queries:
                queries.append(query)
        return queries


def has_attention(backbone: nn.Module) -> bool:
    """Whether ``last_attention`` knows this kind of backbone."""
    return _last_module(backbone) is not None


@torch.no_grad()
def last_attention(backbone: nn.Module, images: Tensor) -> BlockAttention:
    """Attention weights of the last block, as it computes them for these images.

    The fused attention returns no weights, so they are computed from what went into
    the module, by its ``attention_weights`` or, of other packages, from its layers.

    Args:
        backbone: An ``EsViTSwin``, ``ViL``, ``CvT`` or ``VisionTransformer``,
            mmpretrain's Swin, V1 or V2, or a ViT or Swin V1 of timm. Its mode is left
            to the caller.
        images: Normalised images, shape (B, 3, H, W), of any size.

    Returns:
        The weights, in single precision or better, before dropout, with the windows
        of Swin and CvT put in their places.

    Raises:
        ValueError: If the backbone is of another kind, e.g. a ResNet.

    Example:
        >>> attention = last_attention(model.teacher['backbone'], images)
        >>> attention.positions.shape  # (B, heads, T, T)
    """
    module = _last_module(backbone)
    if module is None:
        names = ', '.join(kind.__name__ for kind in _BACKBONES)
        raise ValueError(
            f'The attention of a {type(backbone).__name__} cannot be shown, if it has '
            f'any; it is known of EsViTSwin, {names}, and of the ViT and Swin of timm.'
        )
    if isinstance(backbone, TIMMBackbone):
        return _of_timm(backbone, module, images)
    if isinstance(module, MultiheadAttention):
        return _of_vit(backbone, module, images)
    if isinstance(module, ShiftWindowMSA) and not isinstance(module, WindowAttention):
        return _of_stock_swin(backbone, module, images)
    (call,) = module_calls(backbone, images, module)
    weights = module.attention_weights(*call.args)
    if isinstance(module, WindowAttention):
        grid, side, shift = call.args[1], module.window_size, module.shift_size
        return _join_windows(weights, len(images), grid, (side, side), (shift, shift))
    if isinstance(module, ConvWindowAttention):
        grid = call.args[0].shape[1:3]
        side = min(module.window_size, *grid)
        return _join_windows(weights, len(images), grid, (side, side), (0, 0))
    return BlockAttention(weights, module.num_global_tokens, tuple(call.args[1:3]))


def _last_module(backbone: nn.Module) -> Any:
    """The attention of the last block, or of timm that block; None if unknown."""
    if isinstance(backbone, TIMMBackbone):
        # Imported here, as it takes time.
        from timm.models.swin_transformer import SwinTransformer as TIMMSwin

        model: Any = backbone.timm_model
        if isinstance(model, TIMMSwin):
            stages: Any = model.layers
            return stages[-1].blocks[-1]
        found = find_vit_blocks(backbone)
        # There are others, of two parts.
        return found.blocks[-1] if found and found.has_plain_attention() else None
    if not isinstance(backbone, _BACKBONES):
        return None
    modules = [m for m in backbone.modules() if isinstance(m, _ATTENTIONS)]
    return modules[-1] if modules else None


def _of_vit(backbone: Any, attn: nn.Module, images: Tensor) -> BlockAttention:
    """Attention of mmpretrain's ViT."""
    call, embed_call = module_calls(backbone, images, attn, backbone.patch_embed)
    _, grid = embed_call.output
    return BlockAttention(
        vit_weights(attn, call.args[0]), backbone.num_extra_tokens, tuple(grid)
    )


def _of_stock_swin(
    backbone: nn.Module, attn: ShiftWindowMSA, images: Tensor
) -> BlockAttention:
    """Attention of mmpretrain's Swin, V1 or V2."""
    call, window_call = module_calls(backbone, images, attn, attn.w_msa)
    is_v2 = isinstance(attn.w_msa, WindowMSAV2)
    compute = cosine_window_weights if is_v2 else window_weights
    weights = compute(attn.w_msa, *window_call.args, **window_call.kwargs)
    grid, side, shift = call.args[1], attn.window_size, attn.shift_size
    if min(grid) == side and not attn.pad_small_map:
        shift = 0  # as mmpretrain does
    return _join_windows(weights, len(images), grid, (side, side), (shift, shift))


def _of_timm(backbone: Any, block: Any, images: Tensor) -> BlockAttention:
    """Attention of the last block of timm's ViT or Swin."""
    block_call, call = module_calls(backbone, images, block, block.attn)
    tokens = block_call.args[0]
    if tokens.dim() == 4:
        weights = window_weights(block.attn, *call.args, **call.kwargs)
        grid, sides, shifts = tokens.shape[1:3], block.window_size, block.shift_size
        return _join_windows(weights, len(images), grid, sides, shifts, pad_last=True)
    weights = vit_weights(block.attn, call.args[0])
    model = backbone.timm_model
    num_extra = model.num_prefix_tokens
    height = images.shape[2] // model.patch_embed.patch_size[0]
    width = (weights.shape[-1] - num_extra) // height
    return BlockAttention(weights, num_extra, (height, width))


def _join_windows(
    weights: Tensor,
    batch: int,
    grid: Sequence[int],
    sides: tuple[int, int],
    shifts: tuple[int, int],
    pad_last: bool = False,
) -> BlockAttention:
    """Put windows in their places.

    Args:
        weights: Shape (B windows, heads, N, N) for windows of N positions, those of an
            image row by row.
        batch: Number of images, B.
        grid: Height and width of the map, without its padding.
        sides: Height and width of a window in positions.
        shifts: By so much the map was moved up and left before it was cut.
        pad_last: Whether it was padded after that, as timm does. Defaults to False.
    """
    (height, width), (high, wide) = grid, sides
    total = height * width
    rows, cols = -(-height // high), -(-width // wide)
    padding = (0, cols * wide - width, 0, rows * high - height)
    back = [-shift for shift in shifts]
    # Every position keeps its number; padding has the one after the last.
    index = torch.arange(total, device=weights.device).view(grid)
    if pad_last:
        index = F.pad(index.roll(back, (0, 1)), padding, value=total)
    else:
        index = F.pad(index, padding, value=total).roll(back, (0, 1))
    index = index.view(rows, high, cols, wide).transpose(1, 2).flatten(2).flatten(0, 1)
    placed = weights.new_zeros(batch, weights.shape[1], total + 1, total + 1)
    placed[:, :, index[:, :, None], index[:, None]] = weights.unflatten(
        0, (batch, -1)
    ).transpose(1, 2)
    return BlockAttention(placed[..., :total, :total], 0, (height, width))
