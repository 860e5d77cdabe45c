"""Pairs of views whose regions are matched, and where the second shows the first."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from ..datasets import ImageFiles
from ..datasets.transforms.view_group import Augment, ViewGroup
from .images import open_images

# The image and its mirrored copy, that in a light that changes from side to side, its
# negative, a crop of it, or another image.
PAIRS = ('mirrored', 'relit', 'inverted', 'crop', 'other')
COPIES = PAIRS[:3]
# By how many stops a relit copy is darker at one end, and brighter at the other.
LIGHT_STOPS = 1.5
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


class ViewPair(NamedTuple):
    """Two views whose regions are matched.

    Args:
        paths: Path or name of the image, or of both images.
        views: RGB uint8 arrays of one shape (S, S, 3).
        place: Where the second view lies in the first; None where it is of another
            image.
    """

    paths: list[str]
    views: tuple[np.ndarray, np.ndarray]
    place: Placement | None


def open_pairs(
    sources: Sequence[str | ImageFiles],
    size: int = 224,
    kind: str = 'mirrored',
    seed: int = 0,
    jitter_prob: float = JITTER_PROB,
    bit_depth: int | None = None,
) -> Iterator[ViewPair]:
    """Images, each paired with a second view.

    Args:
        sources: As for ``open_images``.
        size: Side of the images in pixels. Defaults to 224.
        kind: What the second view is, one of ``PAIRS``: 'mirrored', the image's
            mirrored copy; 'relit', that under ``change_light``, and 'inverted', its
            negative, where brightness does not find the true place; 'crop', a crop of
            it; 'other', a crop of the next image. Defaults to 'mirrored'.
        seed: Of the second views; that of an image depends on its number, too.
            Defaults to 0.
        jitter_prob: How often colours of second views are jittered. Defaults to 0.8.
        bit_depth: As for ``open_images``. Defaults to None.

    Returns:
        Iterator over the pairs. Damaged files are left out with a warning.

    Raises:
        FileNotFoundError: If a source does not exist; before the first pair.
        ValueError: If a folder has no image; likewise.
    """
    images = open_images(sources, size, bit_depth)
    if kind == 'other':
        return _pairs_of_images(images, seed, jitter_prob)
    return _pairs_of_copies(images, kind, seed, jitter_prob)


def _pairs_of_images(
    images: Iterator[tuple[str, np.ndarray]], seed: int, jitter_prob: float
) -> Iterator[ViewPair]:
    neighbours = itertools.pairwise(images)
    for number, ((path, image), (other_path, other)) in enumerate(neighbours):
        rng = np.random.default_rng([seed, number])
        view, _ = cropped_copy(other, rng, jitter_prob=jitter_prob)
        yield ViewPair([path, other_path], (image, view), None)


def _pairs_of_copies(
    images: Iterator[tuple[str, np.ndarray]], kind: str, seed: int, jitter_prob: float
) -> Iterator[ViewPair]:
    for number, (path, image) in enumerate(images):
        rng = np.random.default_rng([seed, number])
        if kind == 'crop':
            view, place = cropped_copy(image, rng, jitter_prob=jitter_prob)
        else:
            view, place = copy_of(image, kind, rng, jitter_prob), MIRRORED
        yield ViewPair([path], (image, view), place)


def copy_of(
    image: np.ndarray,
    kind: str,
    rng: np.random.Generator,
    jitter_prob: float = JITTER_PROB,
) -> np.ndarray:
    """A second view of the whole image, which shows ``MIRRORED``.

    Args:
        image: As for ``mirrored_copy``, like the others.
        kind: One of ``COPIES``, as of ``open_pairs``.
        rng: Draws the jitter, and the light of a relit copy.
        jitter_prob: How often colours are jittered. Defaults to 0.8.

    Returns:
        RGB uint8 array of the same shape.
    """
    view = mirrored_copy(image, rng, jitter_prob)
    if kind == 'relit':
        return change_light(view, rng)
    return 255 - view if kind == 'inverted' else view


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


def change_light(
    image: np.ndarray, rng: np.random.Generator, stops: float = LIGHT_STOPS
) -> np.ndarray:
    """Darken an image towards one side and brighten it towards the other.

    Args:
        image: RGB uint8 array of shape (S, S, 3).
        rng: Draws the direction, evenly.
        stops: Powers of two by which opposite corners, seen along the direction, are
            darker and brighter at most. Defaults to 1.5.

    Returns:
        RGB uint8 array of the same shape; what is too bright is white.
    """
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.linspace(-1, 1, len(image))
    ramp = np.cos(angle) * steps[None] + np.sin(angle) * steps[:, None]
    light = 2 ** (stops * ramp / np.abs(ramp).max())
    return np.clip(np.rint(image * light[..., None]), 0, 255).astype(np.uint8)


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
