"""How similar the layers of two vision transformers are: centred kernel alignment."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..models.vit_blocks import vit_blocks
from .frozen import FrozenBackbone
from .images import image_batches, prepare_images
from .module_calls import module_calls

# Fewer have no unbiased estimate.
LEAST_IMAGES = 4


class LayerSimilarity(NamedTuple):
    """CKA of every layer of one model with every layer of another.

    Args:
        cka: Shape (P, Q), float64 on the CPU; at most about 1. A point is what goes
            into the first block, or what one of the blocks returns.
        num_images: How many images it is of.
        num_left_over: How many did not fill a last batch, and were left out.
    """

    cka: Tensor
    num_images: int
    num_left_over: int


def layer_cka(
    first: FrozenBackbone,
    second: FrozenBackbone,
    images: Iterable[tuple[str, np.ndarray]],
    batch_size: int = 64,
) -> LayerSimilarity:
    """CKA between all layers of two plain ViTs, as in MAE-lite (arXiv 2205.14443).

    Features are the patch tokens of an image, without class token, as one vector, after
    the patch embedding with its positions and after each block. Mini-batch CKA: the
    unbiased HSICs are summed over the batches, then divided. The models may differ in
    width, depth and patches.

    Args:
        first: A model.
        second: The model it is compared with, on the same device.
        images: Paths and images of one size, as of ``open_images``; both models see
            the same ones, each normalised as it was trained.
        batch_size: Images of a batch, at least 4. Defaults to 64. Images that do not
            fill a last batch are left out, unless there is no other.

    Returns:
        The similarities.

    Raises:
        ValueError: If a backbone is no plain ViT or does not take images of this size,
            there are fewer than 4 images or in a batch, or all images are alike to a
            layer.

    Example:
        >>> images = open_images(['photos'])
        >>> layer_cka(load_backbone(*mae), load_backbone(*deit), images).cka.shape
        torch.Size([13, 13])
    """
    if batch_size < LEAST_IMAGES:
        raise ValueError(f'batch_size must be >= {LEAST_IMAGES}, got {batch_size}.')
    models = first, second
    for model in models:
        vit_blocks(model.backbone, 'CKA between layers')
    cross = own_first = own_second = torch.zeros(())
    count = left_over = 0
    for batch in image_batches(images, batch_size):
        if len(batch) < batch_size and count or len(batch) < LEAST_IMAGES:
            left_over = len(batch)
            break
        grams = [layer_grams(model, batch) for model in models]
        cross = cross + unbiased_hsic(*grams)
        own_first = own_first + unbiased_hsic(grams[0], grams[0]).diagonal()
        own_second = own_second + unbiased_hsic(grams[1], grams[1]).diagonal()
        count += len(batch)
    if not count:
        raise ValueError(
            f'CKA needs at least {LEAST_IMAGES} images that can be read, got '
            f'{left_over}.'
        )
    for name, own in (('first', own_first), ('second', own_second)):
        alike = (~(own > 0)).nonzero().flatten().tolist()
        if alike:
            raise ValueError(
                f'CKA is not defined: after block {alike[0]} of the {name} model (0 is '
                'the patch embedding) all images are alike, or not finite.'
            )
    cka = cross / (own_first[:, None] * own_second).sqrt()
    return LayerSimilarity(cka.cpu(), count, left_over)


@torch.no_grad()
def layer_grams(model: FrozenBackbone, images: Sequence[np.ndarray]) -> Tensor:
    """Gram matrices of the features at all points of a plain ViT.

    Args:
        model: The model.
        images: RGB uint8 images of one size, shape (H, W, 3).

    Returns:
        Tensor of shape (P, N, N), as of ``gram_matrix``.
    """
    blocks, _, _, num_extra = vit_blocks(model.backbone, 'CKA between layers')
    inputs = prepare_images(list(images), model, resize=False)
    with model.checked(inputs):
        calls = module_calls(model.backbone, inputs, *blocks)
    points = [calls[0].args[0], *(call.output for call in calls)]
    return torch.stack([gram_matrix(x[:, num_extra:].flatten(1)) for x in points])


def gram_matrix(features: Tensor) -> Tensor:
    """Products of the features of all pairs of images; an image's own are 0.

    Features are centred first. The unbiased HSIC is the same without that, but a large
    mean would cost it digits.

    Args:
        features: Shape (N, D).

    Returns:
        Tensor of shape (N, N), float64.
    """
    features = features.double()
    features = features - features.mean(0)
    return (features @ features.T).fill_diagonal_(0)


def unbiased_hsic(first: Tensor, second: Tensor) -> Tensor:
    """Unbiased Hilbert-Schmidt independence criterion of all pairs of Gram matrices.

    (tr KL + 1'K1 1'L1 / (N - 1)(N - 2) - 2 1'KL1 / (N - 2)) / N (N - 3), the estimator
    of Song et al. (JMLR 2012).

    Args:
        first: Shape (P, N, N), symmetric with diagonals of 0.
        second: Shape (Q, N, N), likewise.

    Returns:
        Tensor of shape (P, Q).
    """
    number = first.shape[-1]
    traces = first.flatten(1) @ second.flatten(1).T
    rows_first, rows_second = first.sum(-1), second.sum(-1)
    sums = rows_first.sum(-1)[:, None] * rows_second.sum(-1)
    hsic = traces + sums / ((number - 1) * (number - 2))
    hsic = hsic - 2 / (number - 2) * (rows_first @ rows_second.T)
    return hsic / (number * (number - 3))
