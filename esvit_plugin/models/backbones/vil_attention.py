"""The two attentions of Vision Longformer, both with relative position biases."""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..layers.biased_attention import biased_attention
from ..utils import resize_bias_table


class _RelativeAttention(BaseModule):
    """Projections and bias parameters that both attentions have.

    Args:
        embed_dims: Width of the tokens.
        num_heads: Number of heads.
        reach: Largest offset along an axis that the bias table covers.
        num_global_tokens: Number of global tokens before the local ones.
        qkv_bias: Whether query, key and value have a bias.
        drop_rate: Dropout after the projection.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        reach: int,
        num_global_tokens: int,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_global_tokens = num_global_tokens
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(drop_rate)
        # One row for each offset (row, column), from (-reach, -reach) on.
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * reach + 1) ** 2, num_heads)
        )
        if num_global_tokens:
            # Row 0: a global token looks at a local one; row 1: the reverse.
            self.global_local_bias = nn.Parameter(
                torch.zeros(2, num_heads, num_global_tokens)
            )
            self.global_global_bias = nn.Parameter(
                torch.zeros(num_heads, num_global_tokens, num_global_tokens)
            )
        self._register_load_state_dict_pre_hook(self._resize_table)

    def _resize_table(self, state_dict: dict, prefix: str, *_: Any) -> None:
        """Fit the table of another input or chunk size while loading."""
        key = f'{prefix}relative_position_bias_table'
        if key in state_dict:
            number = len(self.relative_position_bias_table)
            state_dict[key] = resize_bias_table(state_dict[key], number)

    def init_weights(self) -> None:
        """Draw the biases from a truncated normal of std 0.02, as the rest."""
        super().init_weights()
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        if self.num_global_tokens:
            nn.init.trunc_normal_(self.global_local_bias, std=0.02)
            nn.init.trunc_normal_(self.global_global_bias, std=0.02)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (B, heads, N, C / heads)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Tensor:
        scale = query.shape[-1] ** -0.5
        return biased_attention(query, key, value, bias.to(query.dtype), scale)

    def _merge(self, out: Tensor) -> Tensor:
        """Join the heads (B, heads, N, C / heads) and project."""
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))

    def _global_bias(self, num_local: int) -> Tensor:
        """Bias (heads, G, G + num_local) of the global tokens as queries."""
        local = self.global_local_bias[0].unsqueeze(-1).expand(-1, -1, num_local)
        return torch.cat([self.global_global_bias, local], dim=-1)

    def _attend_all(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attention of all tokens to all; ``bias`` (heads, L, L) is for local ones."""
        query, key, value = self._heads(x)
        if self.num_global_tokens:
            num_local = bias.shape[-1]
            to_global = self.global_local_bias[1].unsqueeze(1).expand(-1, num_local, -1)
            bias = torch.cat([to_global, bias], dim=-1)
            bias = torch.cat([self._global_bias(num_local), bias], dim=1)
        return self._merge(self._attend(query, key, value, bias))


class ViLFullAttention(_RelativeAttention):
    """Attention of all tokens to all, for the small maps of the last stages.

    On a map of another size than ``grid`` the bias of all pairs of positions,
    numbered row by row, is resized as one picture (bicubic). The released weights
    were trained with 96-px views treated so; it does not keep offsets, so where
    large or oblong maps matter, chunks serve better (``num_chunk_stages`` of ``ViL``).

    Args:
        grid: Height and width of the map that the bias table is made for.
        **kwargs: Options of both attentions.
    """

    def __init__(self, grid: int, **kwargs: Any) -> None:
        super().__init__(reach=grid - 1, **kwargs)
        self.grid = grid

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Map tokens (B, G + height * width, C) to tokens of that shape."""
        table = self.relative_position_bias_table
        bias = table[_offset_index(self.grid, table.device)].permute(2, 0, 1)
        num_local = height * width
        if num_local != self.grid**2:
            bias = F.interpolate(
                bias.unsqueeze(0),
                size=(num_local, num_local),
                mode='bicubic',
                align_corners=False,
            ).squeeze(0)
        return self._attend_all(x, bias)


class ViLChunkAttention(_RelativeAttention):
    """Sliding-chunk attention (arXiv 2103.15358, Section 3) for large maps.

    The map is cut into square chunks. A position attends to its own chunk, to the 8
    around it and to the global tokens; a global token attends to everything. Large
    maps gather the nearby chunks, small ones mask the far ones, which is faster.

    Args:
        window_size: Side of a chunk in positions.
        **kwargs: Options of both attentions.
    """

    def __init__(self, window_size: int, **kwargs: Any) -> None:
        super().__init__(reach=2 * window_size - 1, **kwargs)
        self.window_size = window_size
        # The authors have query and key-value apart here, and clip the gradient of each
        # by its own norm.
        width = self.proj.in_features
        joined: list[Any] = list(self.qkv.parameters())
        for param in joined:
            param.clip_rows = (width, 2 * width)

    def forward(
        self, x: Tensor, height: int, width: int, neighbor: int | None = None
    ) -> Tensor:
        """Map tokens to tokens of the same shape.

        Args:
            x: Tokens, shape (B, G + height * width, C).
            height: Rows of the map.
            width: Columns of the map.
            neighbor: The only neighbour that each chunk attends to besides itself,
                0 to 7, row by row from the upper left. Defaults to None, all 8.

        Returns:
            Tensor of the same shape as ``x``.
        """
        # Chunks of the 3x3 neighbourhood, the own one in the middle.
        picked = list(range(9))
        if neighbor is not None:
            picked = [4, neighbor if neighbor < 4 else neighbor + 1]
        if self._masking_is_faster(height, width, len(picked)):
            return self._attend_all(x, self._masked_bias(height, width, picked))
        num_global = self.num_global_tokens
        query, key, value = self._heads(x)
        local_query, local_key, local_value = (
            tokens[:, :, num_global:].unflatten(2, (height, width))
            for tokens in (query, key, value)
        )
        out = self._attend_chunks(
            local_query,
            local_key,
            local_value,
            key[:, :, :num_global],
            value[:, :, :num_global],
            picked,
        )
        if num_global:
            bias = self._global_bias(height * width)
            out_global = self._attend(query[:, :, :num_global], key, value, bias)
            out = torch.cat([out_global, out], dim=2)
        return self._merge(out)

    def _masking_is_faster(self, height: int, width: int, num_picked: int) -> bool:
        area = self.window_size**2
        chunks = -(-height // self.window_size) * -(-width // self.window_size)
        gathered = chunks * area * num_picked * (self.num_global_tokens + area)
        # A score costs that much more where keys and values are gathered first.
        return (height * width) ** 2 <= 1.7 * gathered

    def _masked_bias(self, height: int, width: int, picked: list[int]) -> Tensor:
        """Bias (heads, L, L) of all positions, -inf where they do not attend."""
        table = self.relative_position_bias_table
        offset, chunk = _map_offset_index(height, width, self.window_size, table.device)
        far = ~torch.isin(chunk, torch.tensor(picked, device=chunk.device))
        return table[offset].permute(2, 0, 1).masked_fill(far, -torch.inf)

    def _attend_chunks(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        global_key: Tensor,
        global_value: Tensor,
        picked: list[int],
    ) -> Tensor:
        """Attention of the local tokens to gathered chunks.

        Args:
            query: Shape (B, heads, height, width, C / heads).
            key: Shape as ``query``.
            value: Shape as ``query``.
            global_key: Keys of the global tokens, shape (B, heads, G, C / heads).
            global_value: Their values.
            picked: Which chunks of the 3x3 neighbourhood, row by row.

        Returns:
            Tensor of shape (B, heads, height * width, C / heads).
        """
        height, width = query.shape[2:4]
        side = self.window_size
        rows, cols = -(-height // side), -(-width // side)
        nearby, valid = _chunk_plan(height, width, side, query.device)
        nearby, valid = nearby[:, picked], valid[:, picked]

        def cut(image: Tensor) -> Tensor:
            """Chunks (B, heads, rows * cols, side^2, C / heads) of a map."""
            image = F.pad(
                image, (0, 0, 0, cols * side - width, 0, rows * side - height)
            )
            image = image.unflatten(3, (cols, side)).unflatten(2, (rows, side))
            return image.transpose(3, 4).flatten(4, 5).flatten(2, 3)

        def gather(image: Tensor, global_tokens: Tensor) -> Tensor:
            """Keys (B, heads * chunks, len(picked) * (G + side^2), C / heads)."""
            chunks = cut(image)
            # Every chunk carries the global tokens, of which the mask keeps those
            # of the own chunk: cheaper than joining them to the gathered tokens.
            tokens = global_tokens.unsqueeze(2).expand(-1, -1, rows * cols, -1, -1)
            chunks = torch.cat([tokens, chunks], dim=3)
            near = chunks.index_select(2, nearby.flatten())
            return near.unflatten(2, nearby.shape).flatten(3, 4).flatten(1, 2)

        bias = self._chunk_bias(picked)
        mask = F.pad(valid, (self.num_global_tokens, 0), value=False)
        mask[:, picked.index(4), : self.num_global_tokens] = True
        bias = bias.unsqueeze(1).masked_fill(~mask[None, :, None], -torch.inf)
        out = self._attend(
            cut(query).flatten(1, 2),
            gather(key, global_key),
            gather(value, global_value),
            bias.flatten(3).flatten(0, 1),
        )
        out = out.unflatten(1, (-1, rows, cols)).unflatten(4, (side, side))
        out = out.transpose(3, 4).flatten(4, 5).flatten(2, 3)
        return out[:, :, :height, :width].flatten(2, 3)

    def _chunk_bias(self, picked: list[int]) -> Tensor:
        """Bias (heads, side^2, len(picked), G + side^2) of a chunk's positions."""
        table = self.relative_position_bias_table
        index = _chunk_offset_index(self.window_size, table.device)
        bias = table[index[:, picked]].permute(3, 0, 1, 2)
        if self.num_global_tokens:
            to_global = self.global_local_bias[1][:, None, None]
            to_global = to_global.expand(-1, *bias.shape[1:3], -1)
            bias = torch.cat([to_global, bias], dim=-1)
        return bias


@lru_cache(maxsize=64)
def _offset_index(grid: int, device: torch.device) -> Tensor:
    """Row of the bias table for each pair of positions of a grid, (P, P)."""
    axis = torch.arange(grid, device=device)
    position = torch.stack(torch.meshgrid(axis, axis, indexing='ij')).flatten(1)
    offset = position[:, :, None] - position[:, None] + grid - 1
    return offset[0] * (2 * grid - 1) + offset[1]


@lru_cache(maxsize=64)
def _chunk_offset_index(side: int, device: torch.device) -> Tensor:
    """Row of the bias table for the positions of a chunk and of its surroundings.

    Returns:
        Tensor of shape (side^2, 9, side^2): position, neighbour, its position.
    """
    axis = torch.arange(side, device=device)
    inside = torch.stack(torch.meshgrid(axis, axis, indexing='ij')).flatten(1)
    step = side * torch.arange(-1, 2, device=device)
    chunk = torch.stack(torch.meshgrid(step, step, indexing='ij')).flatten(1)
    around = chunk[:, :, None] + inside[:, None]
    offset = inside[:, :, None, None] - around[:, None] + 2 * side - 1
    return offset[0] * (4 * side - 1) + offset[1]


@lru_cache(maxsize=64)
def _chunk_plan(
    height: int, width: int, side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which chunks surround each chunk, and which of their positions exist.

    Returns:
        Indices (chunks, 9) of the 3x3 neighbourhood, row by row, a chunk outside the
        image replaced by any other; and a mask (chunks, 9, side^2), False for
        positions outside the image.
    """

    def axis(size: int) -> tuple[Tensor, Tensor]:
        number = -(-size // side)
        near = torch.arange(number)[:, None] + torch.arange(-1, 2)
        position = near[..., None] * side + torch.arange(side)
        return near.clamp(0, number - 1), (position >= 0) & (position < size)

    (row, row_exists), (col, col_exists) = axis(height), axis(width)
    index = row[:, None, :, None] * len(col) + col[None, :, None]
    exists = row_exists[:, None, :, None, :, None] & col_exists[None, :, None, :, None]
    return index.flatten(2).flatten(0, 1).to(device), (
        exists.flatten(4).flatten(2, 3).flatten(0, 1).to(device)
    )


@lru_cache(maxsize=64)
def _map_offset_index(
    height: int, width: int, side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Row of the bias table for each pair of positions of a map in chunks.

    Returns:
        The rows, and where the chunk of the second position lies in the 3x3
        neighbourhood of the first one's, -1 for further away; each (L, L).
    """
    rows = torch.arange(height, device=device)
    cols = torch.arange(width, device=device)
    position = torch.stack(torch.meshgrid(rows, cols, indexing='ij')).flatten(1)
    chunk = position // side
    step = chunk[:, None] - chunk[:, :, None] + 1
    near = ((step >= 0) & (step <= 2)).all(0)
    offset = position[:, :, None] - position[:, None] + 2 * side - 1
    index = offset[0] * (4 * side - 1) + offset[1]
    return index.where(near, 0), (step[0] * 3 + step[1]).where(near, -1)
