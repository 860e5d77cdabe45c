"""Images to look at, and their way into a model."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageOps
from torch import Tensor

from ..datasets import PHOTO_NAMES, ImageFiles, LoadImage, load_photo
from ..datasets.image_files import cut_image
from ..models import MultiCropDataPreprocessor
from ..models.utils import image_size

IMAGENET: dict[str, Any] = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)


def prepare_images(
    images: Any,
    model: Any = None,
    size: int | None = None,
    resize: bool = True,
    bit_depth: int | None = None,
) -> Tensor:
    """Make what ``encode`` takes of images of any kind.

    Args:
        images: One image or several, in lists or not, of any of these kinds: the path
            of a file; an image of PIL; an RGB uint8 array (H, W, 3) or (B, H, W, 3);
            an RGB uint8 tensor (3, H, W) or (B, 3, H, W).
        model: The model that shall see them, with the ``data_preprocessor`` that it
            was trained with. Defaults to None: ImageNet's mean and standard deviation,
            on the CPU.
        size: Side of the result in pixels. Defaults to None, what the model's backbone
            was made for, or 224.
        resize: Scale the shorter side to 256/224 of ``size`` and cut out the centre,
            as all evaluations here do. False leaves images as they are; all must have
            one size then. Defaults to True.
        bit_depth: As of ``LoadImage``, for files of 16 bits of which a camera uses
            fewer. Defaults to None, what the config of ``load_backbone`` trained with.

    Returns:
        Normalised images (B, 3, size, size), float32, on the model's device.

    Raises:
        ValueError: If there is no image, one is of another kind, or they differ in
            size.
        OSError: If a file cannot be read.

    Example:
        >>> images = prepare_images(['a.jpg', 'b.png'], model)
        >>> view, regions = model.encode(images)
    """
    if size is None:
        backbone = getattr(model, 'backbone', None)
        size = 224 if backbone is None else image_size(backbone)
    if bit_depth is None:
        bit_depth = getattr(model, 'bit_depth', None)
    cut: Any = cut_image(size if resize else None)
    inputs = [
        cut(dict(img=np.ascontiguousarray(image[..., ::-1])))['inputs']
        for image in _arrays(images, bit_depth)
    ]
    if not inputs:
        raise ValueError('There is no image to prepare; give at least one.')
    sizes = sorted({tuple(image.shape[-2:]) for image in inputs})
    if len(sizes) > 1:
        raise ValueError(
            f'Images of one batch must have one size, got {sizes} (height, width); '
            'leave out resize=False.'
        )
    return _normalise(model, torch.stack(inputs))


def _arrays(images: Any, bit_depth: int | None) -> Iterator[np.ndarray]:
    """RGB uint8 arrays (H, W, 3) of images of any kind."""
    if isinstance(images, list | tuple):
        for image in images:
            yield from _arrays(image, bit_depth)
        return
    if isinstance(images, str | os.PathLike):
        path = os.path.expanduser(os.fspath(images))
        try:
            load: Any = LoadImage(bit_depth=bit_depth)
            results = load.transform(dict(img_path=path))
        except OSError as error:
            # Its remedy is one for training.
            reason = error.__cause__
            raise OSError(f'Cannot load the image {path}: {reason}.') from error
        yield results['img'][..., ::-1]
        return
    if isinstance(images, Image.Image):
        if images.mode.startswith(('I', 'F')):
            raise ValueError(
                f'An image of PIL of mode {images.mode} has more than 8 bits per '
                'channel; give the path of its file instead.'
            )
        yield np.asarray(ImageOps.exif_transpose(images).convert('RGB'))
        return
    array = images
    if isinstance(images, Tensor) and images.dim() in (3, 4):
        array = images.detach().cpu().movedim(-3, -1).numpy()
    if not _is_rgb(array):
        what = type(images).__name__
        if isinstance(images, np.ndarray | Tensor):
            what = f'a {what} of {images.dtype} and shape {tuple(images.shape)}'
        raise ValueError(
            'An image must be a path, an image of PIL, a uint8 array (H, W, 3) or a '
            f'uint8 tensor (3, H, W), in RGB, got {what}.'
        )
    yield from array if array.ndim == 4 else [array]


def _is_rgb(array: Any) -> bool:
    return (
        isinstance(array, np.ndarray)
        and array.dtype == np.uint8
        and array.ndim in (3, 4)
        and array.shape[-1] == 3
        and 0 not in array.shape
    )


def _normalise(model: Any, bgr: Tensor) -> Tensor:
    """Normalise uint8 images (B, 3, H, W) in BGR, as the model was trained."""
    if model is None:
        preprocessor: Any = MultiCropDataPreprocessor(**IMAGENET)
    else:
        preprocessor = model.data_preprocessor
    # Those of mmpretrain ask for both.
    return preprocessor(dict(inputs=bgr, data_samples=None))['inputs']


def find_sources(sources: Sequence[str]) -> list[str | ImageFiles]:
    """The images of files and folders, before it is known how large they shall be.

    Args:
        sources: Files, folders that are searched at any depth, and names of bundled
            photographs (``PHOTO_NAMES``) where no file has that name.

    Returns:
        The files of each source; bundled photographs by their names.

    Raises:
        FileNotFoundError: If a source does not exist.
        ValueError: If a folder has no image.
    """
    return [_source(name) for name in sources]


def open_images(
    sources: Sequence[str | ImageFiles], size: int = 224, bit_depth: int | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Square images one by one, cut as ``ImageFiles`` does.

    Args:
        sources: As for ``find_sources``, or what it found.
        size: Side of the images in pixels. Defaults to 224.
        bit_depth: As of ``ImageFiles``. Defaults to None.

    Returns:
        Iterator over the path, or the name, and the RGB uint8 image (size, size, 3).
        Damaged files are left out with a warning.

    Raises:
        FileNotFoundError: If a source does not exist; before the first image.
        ValueError: If a folder has no image; likewise.
    """
    found = [s if isinstance(s, ImageFiles) else _source(s) for s in sources]
    for source in found:
        if isinstance(source, ImageFiles):
            source.cut_to(size, bit_depth)
    return _read(found, size)


def _source(name: str) -> str | ImageFiles:
    if name in PHOTO_NAMES and not os.path.exists(name):
        return name
    try:
        return ImageFiles([name])
    except FileNotFoundError as error:
        if os.path.dirname(name):
            raise
        names = ', '.join(PHOTO_NAMES)
        raise FileNotFoundError(
            f'{error} The bundled photographs are {names}.'
        ) from None


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


def image_batches(
    images: Iterable[tuple[str, np.ndarray]], batch_size: int
) -> Iterator[list[np.ndarray]]:
    """Images of ``open_images`` in batches; the last one may be smaller.

    Args:
        images: Paths and RGB uint8 images of one size.
        batch_size: Images of a batch.
    """
    batch: list[np.ndarray] = []
    for _, image in images:
        batch.append(image)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def model_inputs(model: Any, image: np.ndarray) -> Tensor:
    """Normalise one image as the model was trained.

    Args:
        model: A model with a ``data_preprocessor``.
        image: RGB uint8 array of shape (H, W, 3).

    Returns:
        Tensor of shape (1, 3, H, W) on the model's device.
    """
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
    return _normalise(model, bgr.unsqueeze(0))
