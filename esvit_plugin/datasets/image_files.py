"""Image files for feature extraction: all good ones, each once, in order."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from .folder import EXTENSIONS
from .paths import printable, take_images, walk_files, warn_of_skipped
from .transforms.loading import MAX_PIXELS


def evaluation_steps(size: int = 224) -> list[dict[str, Any]]:
    """Configs of the transforms of a loaded image: the usual ones of evaluation.

    The shorter side is scaled to 256/224 of ``size``, then the centre is cut out.

    Args:
        size: Side of the result in pixels. Defaults to 224.
    """
    return [
        dict(
            type='ResizeEdge',
            scale=round(size * 256 / 224),
            edge='short',
            backend='pillow',
            interpolation='bicubic',
        ),
        dict(type='CenterCrop', crop_size=size),
        dict(type='PackInputs'),
    ]


class _SkipLong:
    """A step that skips images so long that resizing them would fill the memory.

    Args:
        size: Of ``evaluation_steps``, which scale the shorter side.
    """

    def __init__(self, size: int) -> None:
        self.edge = round(size * 256 / 224)

    def __call__(self, results: dict) -> dict | None:
        short, long = sorted(results['img_shape'])
        length = self.edge * long // short
        # A limit like that of the file's own pixels; larger sizes are the user's wish.
        if length * self.edge <= max(MAX_PIXELS, 2 * self.edge**2):
            return results
        path = printable(results['img_path'])
        print_log(
            f'The image {path} of {long} x {short} pixels would be resized to '
            f'{length} x {self.edge}, which is too long. Skipped.',
            'current',
            logging.WARNING,
        )
        return None


class ImageFiles(Dataset):
    """Files and folders of images, cut to one size in the usual way of evaluation.

    The shorter side is scaled to 256/224 of ``size``, then the centre is cut out.

    Args:
        sources: Files, and folders that are searched at any depth; what cannot be
            read there is left out with one warning, as by ``UnlabeledFolder``.
        size: Side of the images in pixels. Defaults to 224.
        bit_depth: As of ``LoadImage``: significant bits of 16. Defaults to None.

    Raises:
        FileNotFoundError: If a source does not exist.
        ValueError: If there is no image.
    """

    def __init__(
        self, sources: Sequence[str], size: int = 224, bit_depth: int | None = None
    ) -> None:
        self.paths: list[str] = []
        skipped: list[str] = []
        for source in map(os.path.expanduser, sources):
            if os.path.isdir(source):
                names = walk_files(source, skipped)
                images = take_images('ImageFiles', names, EXTENSIONS, source)
                self.paths += [os.path.join(source, name) for name in images]
            elif os.path.isfile(source):
                self.paths.append(source)
            else:
                raise FileNotFoundError(
                    f'There is no image or folder {printable(source)}.'
                )
        warn_of_skipped('ImageFiles', skipped)
        if not self.paths:
            raise ValueError(
                f'There is no image in {printable(", ".join(sources))} (looking for '
                f'{", ".join(EXTENSIONS)}).'
            )
        self.cut_to(size, bit_depth)

    def cut_to(self, size: int, bit_depth: int | None = None) -> None:
        """Give the images another size and depth; arguments are as of the class."""
        load = dict(type='LoadImage', on_error='skip', bit_depth=bit_depth)
        steps = [TRANSFORMS.build(load), _SkipLong(size), cut_image(size)]
        self.pipeline = Compose(steps)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, Tensor] | None:
        results = self.pipeline(dict(img_path=self.paths[index]))
        return None if results is None else (index, results['inputs'])


def cut_image(size: int | None) -> Compose:
    """The usual way of evaluation from a loaded image to the input of a model.

    Args:
        size: Side of the result in pixels: the shorter side is scaled to 256/224 of
            it, then the centre is cut out. None leaves images as they are.

    Returns:
        Function of a sample with ``img``, uint8 of shape (H, W, 3) in BGR, to one
        with ``inputs``, the tensor (3, size, size).
    """
    steps = [dict(type='PackInputs')] if size is None else evaluation_steps(size)
    return Compose([TRANSFORMS.build(step) for step in steps])


def collate_images(samples: list[Any]) -> dict[str, Tensor] | None:
    """A batch without its damaged files: ``index`` and ``inputs``.

    Args:
        samples: Of ``ImageFiles``.

    Returns:
        Indices (B,) and images (B, 3, H, W); None if no image is left.
    """
    good = [sample for sample in samples if sample is not None]
    if not good:
        return None
    index, inputs = default_collate(good)
    return dict(index=index, inputs=inputs)
