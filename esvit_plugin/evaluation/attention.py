"""Self-attention of a backbone's last block."""

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import (
    SwinTransformer,
    SwinTransformerV2,
    TIMMBackbone,
    VisionTransformer,
)
from mmpretrain.models.utils import MultiheadAttention, ShiftWindowMSA
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..models import CvT, ViL
from ..models.backbones.cvt import ConvWindowAttention
from ..models.backbones.vil_attention import ViLChunkAttention, ViLFullAttention
from ..models.utils import upcast

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
        found: list[Query] = ['cls'] if self.num_extra else []
        for y, x in ((2, 2), (1, 1), (1, 3), (3, 1), (3, 3)):
            query = (self.grid[0] * y // 4, self.grid[1] * x // 4)
            if query not in found:
                found.append(query)
        return found


def has_attention(backbone: nn.Module) -> bool:
    """Whether ``last_attention`` knows this kind of backbone."""
    return _find_attention(backbone) is not None


@torch.no_grad()
def last_attention(backbone: nn.Module, images: Tensor) -> BlockAttention:
    """Attention weights of the last block, as it computes them for these images.

    The fused attention returns no weights, so they are computed again from the
    query, key, bias and scale that the block itself handed to it.

    Args:
        backbone: An ``EsViTSwin``, ``ViL``, ``CvT`` or ``VisionTransformer``,
            mmpretrain's Swin, V1 or V2, or a ViT or Swin V1 of timm. Its mode is left
            to the caller.
        images: Normalised images, shape (B, 3, H, W), of any size.

    Returns:
        The weights, float32, with the windows of Swin and CvT put in their places.

    Raises:
        ValueError: If the backbone is of another kind, e.g. a ResNet.

    Example:
        >>> attention = last_attention(model.teacher['backbone'], images)
        >>> attention.positions.shape  # (B, heads, T, T)
    """
    attn = _find_attention(backbone)
    if attn is None:
        names = ', '.join(kind.__name__ for kind in _BACKBONES)
        raise ValueError(
            f'The attention of a {type(backbone).__name__} cannot be shown, if it has '
            f'any; it is known of EsViTSwin, {names}, and of the ViT and Swin of timm.'
        )
    seen: dict[str, Any] = {}
    with ExitStack() as stack, _FusedCalls() as fused:

        def watch(handle: Any) -> None:
            stack.callback(handle.remove)

        watch(attn.register_forward_pre_hook(lambda _m, args: seen.update(args=args)))
        if isinstance(attn, ViLChunkAttention):
            # The same result in one piece, in which far chunks are masked.
            attn.__dict__['_masking_is_faster'] = lambda *_: True
            stack.callback(attn.__dict__.pop, '_masking_is_faster')
        elif isinstance(backbone, VisionTransformer):
            embed = backbone.patch_embed
            watch(embed.register_forward_hook(lambda _m, _i, o: seen.update(grid=o[1])))
        elif isinstance(backbone, TIMMBackbone):
            # Of Swin it is not by default.
            stack.callback(setattr, attn.attn, 'fused_attn', attn.attn.fused_attn)
            attn.attn.fused_attn = True
        backbone(images)
        if isinstance(attn, ShiftWindowMSA):
            softmax = attn.w_msa.softmax
            watch(softmax.register_forward_hook(lambda _m, _i, w: seen.update(w=w)))
            # Not our faster one, which has no weights of padding.
            ShiftWindowMSA.forward(attn, *seen['args'])
    seen['size'] = images.shape[-2:]
    weights = upcast(seen['w']) if 'w' in seen else fused.weights()
    return _in_place(attn, backbone, weights, seen)


def _find_attention(backbone: nn.Module) -> Any:
    """The attention of the last block, or of timm that block; None if unknown."""
    if isinstance(backbone, TIMMBackbone):
        # Imported here, as it takes time.
        from timm.models import swin_transformer, vision_transformer

        model: Any = backbone.timm_model
        if isinstance(model, swin_transformer.SwinTransformer):
            stages: Any = model.layers
            return stages[-1].blocks[-1]
        if isinstance(model, vision_transformer.VisionTransformer):
            block: Any = model.blocks[-1]
            # There are others, of two parts.
            kind = type(getattr(block, 'attn', None)).__name__
            return block if kind == 'Attention' else None
        return None
    if not isinstance(backbone, _BACKBONES):
        return None
    found = [m for m in backbone.modules() if isinstance(m, _ATTENTIONS)]
    return found[-1] if found else None


class _FusedCalls(TorchFunctionMode):
    """Keeps the arguments of the last call of the fused attention."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.call = args, kwargs
        return func(*args, **kwargs)

    def weights(self) -> Tensor:
        args, kwargs = self.call
        return _fused_weights(*args, **kwargs)


def _fused_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """What the fused attention multiplies ``value`` by; the rest is not used here."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = upcast(query) @ upcast(key).transpose(-2, -1) * scale
    if attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1)


def _in_place(
    attn: Any, backbone: Any, weights: Tensor, seen: dict[str, Any]
) -> BlockAttention:
    """Order weights by the tokens of the image instead of by windows."""
    args = seen['args']
    if isinstance(attn, ShiftWindowMSA):
        grid, side, shift = tuple(args[1]), attn.window_size, attn.shift_size
        if min(grid) == side and not attn.pad_small_map:
            shift = 0  # as mmpretrain does
        sides, shifts = (side, side), (shift, shift)
        return _join_windows(weights, len(args[0]), grid, sides, shifts)
    if isinstance(attn, ConvWindowAttention):
        grid = tuple(args[0].shape[1:3])
        side = min(attn.window_size, *grid)
        return _join_windows(weights, len(args[0]), grid, (side, side), (0, 0))
    if isinstance(backbone, TIMMBackbone):
        return _of_timm(attn, backbone.timm_model, weights, seen)
    if isinstance(attn, MultiheadAttention):
        return BlockAttention(weights, backbone.num_extra_tokens, tuple(seen['grid']))
    return BlockAttention(weights, attn.num_global_tokens, tuple(args[1:3]))


def _of_timm(
    block: Any, model: Any, weights: Tensor, seen: dict[str, Any]
) -> BlockAttention:
    """Attention of the last block of timm's ViT or Swin."""
    tokens = seen['args'][0]
    if tokens.dim() == 4:
        grid = tuple(tokens.shape[1:3])
        sides, shifts = block.window_size, block.shift_size
        return _join_windows(weights, len(tokens), grid, sides, shifts, pad_last=True)
    num_extra = model.num_prefix_tokens
    height = seen['size'][0] // model.patch_embed.patch_size[0]
    width = (weights.shape[-1] - num_extra) // height
    return BlockAttention(weights, num_extra, (height, width))


def _join_windows(
    weights: Tensor,
    batch: int,
    grid: tuple[int, int],
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
    return BlockAttention(placed[..., :total, :total], 0, grid)
