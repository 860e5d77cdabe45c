"""How widely the heads of a block look: their entropy, and where their mass lies."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .attention import BlockAttention, Query, last_attention
from .frozen import FrozenBackbone
from .images import model_inputs


class ImageEntropy(NamedTuple):
    """Entropy of the heads of a block over images.

    Args:
        entropy: Mean of each head over images and queries, in nats.
        num_images: How many images there were.
        first_images: Paths and RGB uint8 arrays of the first of them.
    """

    entropy: list[float]
    num_images: int
    first_images: list[tuple[str, np.ndarray]]


def attend(model: FrozenBackbone, image: np.ndarray) -> BlockAttention:
    """Attention of the last block in one image.

    Args:
        model: The model.
        image: RGB uint8 array of shape (H, W, 3).

    Raises:
        ValueError: If the backbone takes no images of this size, or its attention is
            not known.
    """
    inputs = model_inputs(model, image)
    with model.checked(inputs):
        return last_attention(model.backbone, inputs)


def image_entropy(
    model: FrozenBackbone,
    images: Iterable[tuple[str, np.ndarray]],
    queries: Sequence[Query] = (),
    num_kept: int = 0,
) -> ImageEntropy:
    """Entropy of each head of the last block, mean over images.

    Args:
        model: The model.
        images: Paths and images, as of ``open_images``.
        queries: Queries to be drawn later, which the first image must have. Defaults
            to none.
        num_kept: How many of the first images to return. Defaults to 0.

    Returns:
        The entropies, the number of images, and the first of them.

    Raises:
        ValueError: If there is no image or no such query, or the backbone's attention
            is not known.
    """
    total, count = torch.zeros(()), 0
    first_images: list[tuple[str, np.ndarray]] = []
    for path, image in images:
        attention = attend(model, image)
        if not count:
            for query in queries:
                attention.of_query(query)
        total = total + head_entropy(attention)[0].cpu()
        count += 1
        if len(first_images) < num_kept:
            first_images.append((path, image))
    if not count:
        raise ValueError('No image could be read, nothing is written.')
    return ImageEntropy((total / count).tolist(), count, first_images)


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
