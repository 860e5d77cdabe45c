"""Images to look at, and their way into a model."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor

from ..datasets import PHOTO_NAMES, ImageFiles, load_photo


def open_images(
    sources: Sequence[str], size: int = 224
) -> Iterator[tuple[str, np.ndarray]]:
    """Square images one by one, cut as ``ImageFiles`` does.

    Args:
        sources: Files, folders that are searched at any depth, and names of bundled
            photographs (``PHOTO_NAMES``) where no file has that name.
        size: Side of the images in pixels. Defaults to 224.

    Returns:
        Iterator over the path, or the name, and the RGB uint8 image (size, size, 3).
        Damaged files are left out with a warning.

    Raises:
        FileNotFoundError: If a source does not exist; before the first image.
        ValueError: If a folder has no image; likewise.
    """
    return _read(
        [
            name
            if name in PHOTO_NAMES and not os.path.exists(name)
            else ImageFiles([name], size)
            for name in sources
        ],
        size,
    )


def _read(
    sources: Sequence[str | ImageFiles], size: int
) -> Iterator[tuple[str, np.ndarray]]:
    for source in sources:
        if isinstance(source, str):
            photo = Image.fromarray(load_photo(source, round(size * 256 / 224)))
            yield source, np.asarray(TF.center_crop(photo, [size, size]))
            continue
        for index, path in enumerate(source.paths):
            sample = source[index]
            if sample is not None:
                bgr = sample[1]
                yield path, bgr.flip(0).permute(1, 2, 0).numpy()


def model_inputs(model: Any, image: np.ndarray) -> Tensor:
    """Normalise one image as the model was trained.

    Args:
        model: A model with a ``data_preprocessor``.
        image: RGB uint8 array of shape (H, W, 3).

    Returns:
        Tensor of shape (1, 3, H, W) on the model's device.
    """
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
    return model.data_preprocessor(dict(inputs=bgr.unsqueeze(0)))['inputs']
