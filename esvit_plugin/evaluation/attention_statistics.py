"""How widely the heads of a block look: their entropy, and where their mass lies."""

import torch
from torch import Tensor

from .attention import BlockAttention


def head_entropy(attention: BlockAttention) -> Tensor:
    """Entropy of each head's attention, mean over the queries.

    Every token is a query, class and global tokens too. For windows the sum runs over
    the window; where padding around the map takes part in the attention, what is left
    of a row counts as the whole.

    Args:
        attention: Attention of images.

    Returns:
        Tensor of shape (B, heads), in nats: 0 where each query looks at one position,
        ln N where it looks at N alike.
    """
    weights = attention.weights.double()
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-300)
    return torch.special.entr(weights).sum(-1).mean(-1)


def mass_mask(weights: Tensor, mass: float = 0.6) -> Tensor:
    """The smallest set of positions that holds a share of the attention.

    Args:
        weights: Where a query looks, shape (..., H, W).
        mass: The share of their sum, in (0, 1]. Defaults to 0.6, which is the
            authors'.

    Returns:
        Bool tensor of shape (..., H, W).

    Raises:
        ValueError: If ``mass`` is outside (0, 1].
    """
    if not 0 < mass <= 1:
        raise ValueError(f'mass must lie in (0, 1], got {mass}; the authors use 0.6.')
    flat = weights.flatten(-2).double()
    values, order = flat.sort(descending=True, stable=True)
    # Positions are taken until the others hold enough; sums in steps round.
    before = values.cumsum(-1) - values
    taken = before < (mass - 1e-6) * values.sum(-1, keepdim=True)
    return torch.zeros_like(taken).scatter(-1, order, taken).view(weights.shape)
