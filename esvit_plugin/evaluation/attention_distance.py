"""How far the heads of all blocks of a vision transformer look, and how widely."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..models.layers.attention_scores import vit_scores
from ..models.vit_blocks import vit_blocks
from .attention import BlockAttention
from .attention_statistics import head_entropy
from .frozen import FrozenBackbone
from .images import image_batches, prepare_images
from .module_calls import module_calls


class AttentionSpread(NamedTuple):
    """Attention distance and entropy of each head.

    Args:
        distance: In pixels, shape (blocks, heads), float64 on the CPU.
        entropy: In nats, likewise.
        uniform: Distance and entropy of a head that looks everywhere alike.
        grid: Height and width of the map of patches.
        num_images: How many images these are means of.
    """

    distance: Tensor
    entropy: Tensor
    uniform: tuple[float, float]
    grid: tuple[int, int]
    num_images: int


def attention_spread(
    model: FrozenBackbone,
    images: Iterable[tuple[str, np.ndarray]],
    batch_size: int = 16,
) -> AttentionSpread:
    """Attention distance and entropy of each head of each block of a plain ViT.

    As in MAE-lite (arXiv 2205.14443): attention among the patches alone, means over
    queries and images. The class token is left out as query and, before the softmax,
    as key; so are other tokens that are no patches.

    Args:
        model: The model.
        images: Paths and images of one size, as of ``open_images``.
        batch_size: Images that run at once. Defaults to 16.

    Returns:
        The means, the earliest block first.

    Raises:
        ValueError: If the backbone is no plain ViT or does not take images of this
            size, or there is no image.
    """
    total = torch.zeros(())
    grid, size, count = (0, 0), (0, 0), 0
    for batch in image_batches(images, batch_size):
        inputs = prepare_images(batch, model, resize=False)
        size = inputs.shape[2], inputs.shape[3]
        _check_size(model.backbone, size)
        sums = []
        for attention in patch_attention(model, inputs):
            grid = attention.grid
            measures = head_distance(attention, size), head_entropy(attention)
            sums.append(torch.stack(measures, -1).sum(0).cpu())
        total = total + torch.stack(sums)
        count += len(batch)
    if not count:
        raise ValueError('No image could be read, nothing is written.')
    number = math.prod(grid)
    everywhere = torch.full((1, 1, number, number), 1 / number, dtype=torch.float64)
    alike = BlockAttention(everywhere, 0, grid)
    return AttentionSpread(
        total[..., 0] / count,
        total[..., 1] / count,
        (head_distance(alike, size).item(), head_entropy(alike).item()),
        grid,
        count,
    )


def _check_size(backbone: nn.Module, size: tuple[int, int]) -> None:
    """Refuse images that are no whole patches, which backbones pad, or one alone."""
    modules = dict(backbone.named_modules())
    stems = [m for name, m in modules.items() if name.split('.')[-1] == 'patch_embed']
    convs = [m for stem in stems for m in stem.modules() if isinstance(m, nn.Conv2d)]
    patch = math.prod(int(conv.stride[0]) for conv in convs)
    if any(side % patch or side < 2 * patch for side in size):
        raise ValueError(
            f'Images of {size[0]} x {size[1]} pixels are not cut into whole patches of '
            f'{patch} pixels, two or more each way, by this '
            f'{type(backbone).__name__}; take a multiple, such as {2 * patch}.'
        )


@torch.no_grad()
def patch_attention(model: FrozenBackbone, inputs: Tensor) -> Iterator[BlockAttention]:
    """Attention among the patches in every block of a plain ViT.

    Args:
        model: The model.
        inputs: Normalised images, shape (B, 3, H, W).

    Yields:
        Weights (B, heads, T, T) of each block without extra tokens, float64; all rows
        sum to 1.

    Raises:
        ValueError: If the backbone is no plain ViT, or does not take images of this
            size.
    """
    found = vit_blocks(model.backbone, 'The attention distance')
    if not found.has_plain_attention():
        raise ValueError(
            'The attention distance is known of attention of all tokens to all by '
            'their products alone, which not all blocks of this '
            f'{type(model.backbone).__name__} have.'
        )
    modules = [block.attn for block in found.blocks]
    with model.checked(inputs):
        calls = module_calls(model.backbone, inputs, *modules)
    start = found.num_extra
    for attn, call in zip(modules, calls, strict=True):
        scores = vit_scores(attn, call.args[0])[..., start:, start:]
        grid = patch_grid(scores.shape[-1], *inputs.shape[2:])
        yield BlockAttention(scores.double().softmax(-1), 0, grid)


def head_distance(attention: BlockAttention, size: tuple[int, int]) -> Tensor:
    """Distance between a query and what it looks at, mean over the queries.

    Args:
        attention: Attention among patches alone.
        size: Height and width of the images in pixels.

    Returns:
        Tensor of shape (B, heads), in pixels between the centres of patches, float64.
    """
    weights = attention.positions.double()
    axes = [
        torch.arange(n, dtype=torch.float64) * side / n
        for n, side in zip(attention.grid, size, strict=True)
    ]
    places = torch.cartesian_prod(*axes).to(weights.device)
    distances = (places[:, None] - places).norm(dim=-1)
    return (weights * distances).sum(-1).mean(-1)


def patch_grid(num_patches: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of the map of an image's square patches.

    Args:
        num_patches: Their number.
        height: Of the image, in pixels.
        width: Likewise.

    Raises:
        ValueError: If so many squares do not fill the image.
    """
    rows = max(1, round(math.sqrt(num_patches * height / width)))
    cols = num_patches // rows
    if rows * cols != num_patches:
        raise ValueError(
            f'{num_patches} patches form no map of {height} x {width} pixels.'
        )
    return rows, cols
