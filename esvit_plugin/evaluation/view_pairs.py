"""Pairs of views whose regions are matched, and where the second shows the first."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from ..datasets.transforms.view_group import Augment, ViewGroup

# The image and its mirrored copy, a crop of it, or another image.
PAIRS = ('mirrored', 'crop', 'other')
# How often the authors' program jitters the colours of a mirrored copy.
JITTER_PROB = 0.8


class Placement(NamedTuple):
    """Where a second view lies in the first.

    Args:
        top: Upper edge, as a share of the first view's height, like the others.
        left: Left edge, as a share of the width.
        height: Height.
        width: Width.
        mirrored: Whether left and right are exchanged. Defaults to False.
    """

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0
    mirrored: bool = False

    def in_first(self, points: Tensor) -> Tensor:
        """Move points of the second view into the first.

        Args:
            points: Rows and columns (..., 2), as shares of the second view's sides.

        Returns:
            The same points (..., 2), as shares of the first view's sides.
        """
        rows, cols = points.unbind(-1)
        cols = 1 - cols if self.mirrored else cols
        return torch.stack(
            [self.top + self.height * rows, self.left + self.width * cols], -1
        )


MIRRORED = Placement(mirrored=True)


def mirrored_copy(
    image: np.ndarray, rng: np.random.Generator, jitter_prob: float = JITTER_PROB
) -> np.ndarray:
    """A second view: flipped, colour-jittered and grey, as the authors' program has it.

    Args:
        image: RGB uint8 array of shape (S, S, 3).
        rng: Draws the jitter, of the strengths of training.
        jitter_prob: How often colours are jittered. Defaults to 0.8.

    Returns:
        RGB uint8 array of the same shape. It shows ``MIRRORED``.
    """
    augment = Augment(
        flip_prob=1, color_jitter_prob=jitter_prob, gray_prob=1, blur_prob=0
    )
    # The crop is the whole image.
    group = ViewGroup(len(image), scale=(1, 1), ratio=(1, 1), augment=augment)
    return _view(group, image, rng)[0]


def cropped_copy(
    image: np.ndarray,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.4, 0.6),
    jitter_prob: float = JITTER_PROB,
) -> tuple[np.ndarray, Placement]:
    """A second view: a random crop of an image, resized to its size, and augmented.

    As in the authors' program it is flipped with probability 0.5, its colours are
    jittered, and it is grey with probability 0.2.

    Args:
        image: RGB uint8 array of shape (S, S, 3).
        rng: Draws the crop, with the aspect ratios of training.
        scale: Least and greatest share of the area. Defaults to (0.4, 0.6).
        jitter_prob: How often colours are jittered. Defaults to 0.8.

    Returns:
        RGB uint8 array of the same shape, and where it lies in the image.
    """
    augment = Augment(
        flip_prob=0.5, color_jitter_prob=jitter_prob, gray_prob=0.2, blur_prob=0
    )
    return _view(ViewGroup(len(image), scale=scale, augment=augment), image, rng)


def _view(
    group: ViewGroup, image: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, Placement]:
    height, width = image.shape[:2]
    draw = group.draw(rng, height, width)
    view = group.apply(Image.fromarray(image), draw, InterpolationMode.BICUBIC)
    place = Placement(
        draw.top / height,
        draw.left / width,
        draw.height / height,
        draw.width / width,
        bool(draw.flip),
    )
    return np.asarray(view), place
