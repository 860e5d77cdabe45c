"""The two attentions of Vision Longformer, both with relative position biases.

Suffixes of names give shapes, in an attention's bias queries before keys:

    B  images                  G  global tokens of an image
    h  heads                   L  local tokens, the positions of a map row by row
    d  channels of a head      T  tokens, G + L, the global ones first
    C  channels, h d           Y, X  rows and columns of a map, Y X = L
    k  chunks of a map         S  positions of a chunk
    n  chunks attended to      E  tokens of a chunk and the global ones, G + S
                               K  keys of a chunk, n E
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..layers.biased_attention import (
    attention_weights,
    biased_attention,
    gather_bias,
)
from ..layers.chunk_layout import (
    attended_chunks,
    chunk_offset_index,
    chunk_plan,
    map_offset_index,
    offset_index,
)
from ..plain import use_plain
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

    def _heads(self, x_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, T, d)."""
        qkv_BT3hd = self.qkv(x_BTC).unflatten(-1, (3, self.num_heads, -1))
        q_BhTd, k_BhTd, v_BhTd = qkv_BT3hd.permute(2, 0, 3, 1, 4).unbind(0)
        return q_BhTd, k_BhTd, v_BhTd

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Tensor:
        scale = query.shape[-1] ** -0.5
        return biased_attention(query, key, value, bias.to(query.dtype), scale)

    def _merge(self, out_BhTd: Tensor) -> Tensor:
        """Join the heads and project, (B, T, C)."""
        return self.proj_drop(self.proj(out_BhTd.transpose(1, 2).flatten(2)))

    def _global_bias(self, num_local: int) -> Tensor:
        """Bias (heads, G, T) of the global tokens as queries."""
        bias_hGL = self.global_local_bias[0].unsqueeze(-1).expand(-1, -1, num_local)
        return torch.cat([self.global_global_bias, bias_hGL], dim=-1)

    def _token_bias(self, bias_hLL: Tensor) -> Tensor:
        """Bias (heads, T, T) of all tokens from the one of local tokens."""
        if not self.num_global_tokens:
            return bias_hLL
        num_local = bias_hLL.shape[-1]
        bias_hLG = self.global_local_bias[1].unsqueeze(1).expand(-1, num_local, -1)
        bias_hLT = torch.cat([bias_hLG, bias_hLL], dim=-1)
        return torch.cat([self._global_bias(num_local), bias_hLT], dim=1)

    def _attend_all(self, x_BTC: Tensor, bias_hLL: Tensor) -> Tensor:
        """Attention of all tokens to all, given the bias of local tokens."""
        return self._merge(
            self._attend(*self._heads(x_BTC), self._token_bias(bias_hLL))
        )

    def _weights(self, x_BTC: Tensor, bias_hLL: Tensor) -> Tensor:
        """The weights (B, heads, T, T) of ``_attend_all``."""
        q_BhTd, k_BhTd, _ = self._heads(x_BTC)
        bias_hTT = self._token_bias(bias_hLL)
        return attention_weights(q_BhTd, k_BhTd, bias_hTT, q_BhTd.shape[-1] ** -0.5)


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
        return self._attend_all(x, self._local_bias(height * width))

    def attention_weights(self, x: Tensor, height: int, width: int) -> Tensor:
        """The weights of an input.

        Args:
            x: Tokens, shape (B, T, C), T = G + height * width.
            height: Rows of the map.
            width: Columns of the map.

        Returns:
            Tensor of shape (B, heads, T, T).
        """
        return self._weights(x, self._local_bias(height * width))

    def _local_bias(self, num_local: int) -> Tensor:
        """Bias (heads, L, L) of local tokens."""
        table = self.relative_position_bias_table
        bias_hLL = gather_bias(table, offset_index(self.grid, table.device))
        if num_local == self.grid**2:
            return bias_hLL
        return F.interpolate(
            bias_hLL.unsqueeze(0),
            size=(num_local, num_local),
            mode='bicubic',
            align_corners=False,
        ).squeeze(0)


class ViLChunkAttention(_RelativeAttention):
    """Sliding-chunk attention (arXiv 2103.15358, Section 3) for large maps.

    The map is cut into square chunks. A position attends to its own chunk, to the 8
    around it and to the global tokens; a global token attends to everything. On large
    maps each chunk gathers its neighbours; on small ones it is faster to attend to all
    positions and mask those of other chunks, which is the plain twin, too.

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
        self, x: Tensor, height: int, width: int, neighbor: int | Tensor | None = None
    ) -> Tensor:
        """Map tokens to tokens of the same shape.

        Args:
            x: Tokens, shape (B, G + height * width, C).
            height: Rows of the map.
            width: Columns of the map.
            neighbor: The only neighbour that each chunk attends to besides itself,
                0 to 7, row by row from the upper left, or both as ``attended_chunks``
                gives them. Defaults to None, all 8.

        Returns:
            Tensor of the same shape as ``x``.
        """
        picked = _attended_chunks(neighbor, x)
        if use_plain() or self._masking_is_faster(height, width, len(picked)):
            return self._attend_all(x, self._masked_bias(height, width, picked))
        num_global = self.num_global_tokens
        q_BhTd, k_BhTd, v_BhTd = self._heads(x)
        q_BhYXd, k_BhYXd, v_BhYXd = (
            tokens[:, :, num_global:].unflatten(2, (height, width))
            for tokens in (q_BhTd, k_BhTd, v_BhTd)
        )
        out = self._attend_chunks(
            q_BhYXd,
            k_BhYXd,
            v_BhYXd,
            k_BhTd[:, :, :num_global],
            v_BhTd[:, :, :num_global],
            picked,
        )
        if num_global:
            bias_hGT = self._global_bias(height * width)
            q_BhGd = q_BhTd[:, :, :num_global]
            out_BhGd = self._attend(q_BhGd, k_BhTd, v_BhTd, bias_hGT)
            out = torch.cat([out_BhGd, out], dim=2)
        return self._merge(out)

    def attention_weights(
        self, x: Tensor, height: int, width: int, neighbor: int | Tensor | None = None
    ) -> Tensor:
        """The weights of an input, 0 where the chunk of a position is too far.

        Args:
            x: Tokens, shape (B, T, C), T = G + height * width.
            height: Rows of the map.
            width: Columns of the map.
            neighbor: As in ``forward``. Defaults to None, all 8.

        Returns:
            Tensor of shape (B, heads, T, T).
        """
        picked = _attended_chunks(neighbor, x)
        return self._weights(x, self._masked_bias(height, width, picked))

    def _masking_is_faster(self, height: int, width: int, num_picked: int) -> bool:
        area = self.window_size**2
        chunks = -(-height // self.window_size) * -(-width // self.window_size)
        gathered = chunks * area * num_picked * (self.num_global_tokens + area)
        # A score costs that much more where keys and values are gathered first.
        return (height * width) ** 2 <= 1.7 * gathered

    def _masked_bias(self, height: int, width: int, picked: Tensor) -> Tensor:
        """Bias (heads, L, L) of all positions, -inf where they do not attend."""
        table = self.relative_position_bias_table
        offset, chunk = map_offset_index(height, width, self.window_size, table.device)
        far = ~torch.isin(chunk, picked)
        return gather_bias(table, offset).masked_fill(far, -torch.inf)

    def _attend_chunks(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        global_key: Tensor,
        global_value: Tensor,
        picked: Tensor,
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
        side, num_global = self.window_size, self.num_global_tokens
        rows, cols = -(-height // side), -(-width // side)
        nearby_kn, exists_knS = (
            plan[:, picked] for plan in chunk_plan(height, width, side, query.device)
        )

        def cut(x_BhYXd: Tensor) -> Tensor:
            """Chunks (B, heads, k, S, d) of a map."""
            padded = F.pad(
                x_BhYXd, (0, 0, 0, cols * side - width, 0, rows * side - height)
            )
            # (B, heads, rows, side, cols, side, d)
            x = padded.unflatten(3, (cols, side)).unflatten(2, (rows, side))
            return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)

        def gather(x_BhYXd: Tensor, x_BhGd: Tensor) -> Tensor:
            """Keys or values (B, heads k, K, d) of the chunks."""
            # Each chunk has the global tokens before its own and brings them along
            # when it is gathered, n times in all; the mask keeps those of the chunk
            # itself. That is cheaper than joining them to what was gathered.
            x_BhkGd = x_BhGd.unsqueeze(2).expand(-1, -1, rows * cols, -1, -1)
            x = torch.cat([x_BhkGd, cut(x_BhYXd)], dim=3)
            x = x.index_select(2, nearby_kn.flatten()).unflatten(2, nearby_kn.shape)
            return x.flatten(3, 4).flatten(1, 2)

        # Which of the n E keys are attended to.
        mask_knE = F.pad(exists_knS, (num_global, 0), value=False)
        own = 4 if len(picked) == 9 else 0
        mask_knE[:, own, :num_global] = True
        bias_hSnE = self._chunk_bias(picked)
        bias_hkSnE = bias_hSnE.unsqueeze(1).masked_fill(
            ~mask_knE[None, :, None], -torch.inf
        )
        out_BhkSd = self._attend(
            cut(query).flatten(1, 2),
            gather(key, global_key),
            gather(value, global_value),
            bias_hkSnE.flatten(3).flatten(0, 1),
        ).unflatten(1, (-1, rows * cols))
        out = out_BhkSd.unflatten(2, (rows, cols)).unflatten(4, (side, side))
        out_BhYXd = out.transpose(3, 4).flatten(4, 5).flatten(2, 3)
        return out_BhYXd[:, :, :height, :width].flatten(2, 3)

    def _chunk_bias(self, picked: Tensor) -> Tensor:
        """Bias (heads, S, n, G + S) of a chunk's positions and the chunks' tokens."""
        table = self.relative_position_bias_table
        index_SnS = chunk_offset_index(self.window_size, table.device)[:, picked]
        bias_hSnS = gather_bias(table, index_SnS)
        if not self.num_global_tokens:
            return bias_hSnS
        bias_h11G = self.global_local_bias[1][:, None, None]
        bias_hSnG = bias_h11G.expand(-1, *bias_hSnS.shape[1:3], -1)
        return torch.cat([bias_hSnG, bias_hSnS], dim=-1)


def _attended_chunks(neighbor: int | Tensor | None, x: Tensor) -> Tensor:
    if isinstance(neighbor, Tensor):
        return neighbor
    return attended_chunks(-1 if neighbor is None else neighbor, x.device)
