"""Images that look alike: the nearest of a file of features."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .feature_file import FeatureOrigin, read_paths
from .images import prepare_images


class Neighbours(NamedTuple):
    """The images that are most similar to one, the nearest first.

    Args:
        query: Path of the image.
        paths: Paths of the others.
        similarities: Cosine of their features to those of the image, at most 1.
    """

    query: str
    paths: list[str]
    similarities: list[float]


def nearest(
    query: np.ndarray, features: np.ndarray, num_neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of features that are nearest by cosine.

    Args:
        query: Shape (C,).
        features: Shape (N, C).
        num_neighbours: How many, at most N.

    Returns:
        Indices of rows and similarities, each (min(num_neighbours, N),), the nearest
        first, equal ones in their order.

    Raises:
        ValueError: If the widths differ.
    """
    if len(query) != features.shape[1]:
        raise ValueError(
            f'The image has features of width {len(query)}, the file such of width '
            f'{features.shape[1]}: give the config and checkpoint that it was written '
            'with.'
        )
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(query)
    similarities = features @ query / lengths.clip(1e-12)
    order = np.argsort(-similarities, kind='stable')[:num_neighbours]
    return order, similarities[order]


@torch.no_grad()
def similar_images(
    model: Any,
    features_file: str,
    images: Sequence[str],
    origin: FeatureOrigin,
    num_neighbours: int = 5,
) -> list[Neighbours]:
    """Find the images of a file of features that are most similar to others.

    Args:
        model: The ``FrozenBackbone`` that the file was written with, as
            ``load_backbone`` gives it.
        features_file: What ``esvit features`` wrote.
        images: Files.
        origin: How the features were made: ``read_origin`` of the file.
        num_neighbours: How many of each image; the image itself is none of them.
            Defaults to 5.

    Returns:
        The neighbours of each image, by paths that can be opened from here.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is no file of pooled features, or one of another model.
        OSError: If an image cannot be read.
    """
    features, names = read_paths(features_file)
    paths = [find_image(name, origin.folder) for name in names]
    places = np.array([os.path.abspath(path) for path in paths])
    neighbours = []
    for image in images:
        inputs = prepare_images(image, model, origin.size)
        query = model.extract_feat(inputs)[0].float().cpu().numpy()
        others = np.flatnonzero(places != os.path.abspath(os.path.expanduser(image)))
        order, similarities = nearest(query, features[others], num_neighbours)
        nearby = [paths[row] for row in others[order]]
        neighbours.append(Neighbours(image, nearby, similarities.tolist()))
    return neighbours


def find_image(path: str, folder: str) -> str:
    """A path of a file of features as it can be opened from here.

    Args:
        path: As it was written.
        folder: Where the program ran that wrote it, '' if that is not known.
    """
    if not folder or os.path.isabs(path):
        return path
    path = os.path.join(folder, path)
    here = os.path.relpath(path)
    return path if here.startswith(os.pardir) else here
