"""Loading an image file or record, with a clear answer to a damaged one."""

import contextlib
import logging
from numbers import Integral
from typing import Any

import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.image.io import imread_flags
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS
from PIL import UnidentifiedImageError

from ..paths import printable
from .deep_image import decode_deep, warn_of_lost_bits
from .image_header import (
    IMAGE_STARTS,
    describe_unreadable,
    image_size,
    is_truncated,
    jpeg_size,
    no_pillow_limit,
)

# OpenCV's flags for decoding at 1/8, 1/4, 1/2, beside those of colour and orientation.
REDUCED_FLAGS = {8: 64, 4: 32, 2: 16}
# Above this Pillow refuses an image as a decompression bomb.
MAX_PIXELS = 178956970


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image file as mmcv's ``LoadImageFromFile``, and check that it is whole.

    OpenCV 4.11 and 5.0 refuse a truncated JPEG; 4.8 returns an image whose missing part
    is arbitrary. Therefore a JPEG or PNG without its end marker is refused before it is
    decoded, whatever the decoder. The marker is searched from the end of the file,
    which takes less than 1% of the time of decoding. (The 'pillow' decoder also refuses
    a truncated JPEG, but is over 1.5 times slower than OpenCV.) Damage in the middle of
    a file goes unnoticed unless the decoder stops there.

    Required key: ``img_path``. Added keys: ``img``, uint8 of shape (H, W, 3) in BGR by
    default; ``img_shape`` and ``ori_shape``, (H, W) of that array. A sample with an
    ``img`` and no path stays as it is.

    Args:
        to_float32: Whether to return float32 instead of uint8. Defaults to False.
        color_type: As for ``mmcv.imfrombytes``. Defaults to 'color'.
        imdecode_backend: The decoder, as for ``mmcv.imfrombytes``. Defaults to 'cv2'.
        on_error: What to do about a bad file, one that is missing, empty, truncated or
            no image. 'raise' (default) is an error. 'skip' logs a warning, once per
            file and process, and returns None; the data set then draws another sample
            at random (``max_refetch``). It draws from numpy's global state, so *which*
            sample depends on the number of workers. k-NN leaves the file out instead.
        min_side: Decode a JPEG at 1/2, 1/4 or 1/8 of its size, the smallest that
            leaves the shorter side at least this many pixels. Photographs of more than
            twice this side are decoded in a fraction of the time, smaller ones as
            without it. From ``size / sqrt(0.75 * scale)`` on, where ``scale`` is the
            least of a group of ``MultiCrop``, no crop is enlarged because of it. For
            the paper's views that is 500; they then differ from those of full size by
            less than a grey level in the mean. Defaults to None, full size.
        max_pixels: An image with more pixels is a bad file and is not decoded, since
            one of 20,000 x 20,000 takes gigabytes. The number is read from the file's
            header, before ``min_side`` makes the image smaller; a file whose header
            cannot be read is bad. None removes this limit and Pillow's own. Defaults to
            178956970, Pillow's limit.
        bit_depth: For images of 16 bits per channel, how many of the bits the camera
            used, 9 to 16. Their full range becomes 0 to 255. Without it the high byte
            is kept, and images of a camera of 10 to 14 bits come out nearly black; the
            first of these is warned of. Values above the range become 255, and an
            image with more than 1% of them is a bad file. Images of 8 bits stay as they
            are. Defaults to None, all 16 bits.
        backend_args: Of the file backend, as for ``mmengine.fileio.get``.

    Raises:
        ValueError: If ``on_error`` is neither 'raise' nor 'skip', ``min_side`` or
            ``max_pixels`` is no positive integer, ``bit_depth`` is not 9 to 16, or
            ``min_side`` or ``bit_depth`` is given for a decoder other than 'cv2' or for
            ``color_type='unchanged'``.
    """

    # What the messages call the thing that holds one encoded image.
    unit = 'file'

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        on_error: str = 'raise',
        min_side: int | None = None,
        max_pixels: int | None = MAX_PIXELS,
        bit_depth: int | None = None,
        *,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        name = type(self).__name__
        if on_error not in ('raise', 'skip'):
            raise ValueError(
                f"{name}'s on_error must be 'raise' or 'skip', got {on_error!r}"
            )
        for option, value in (('min_side', min_side), ('max_pixels', max_pixels)):
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise ValueError(
                    f"{name}'s {option} must be a positive integer or None, got "
                    f'{value!r}'
                )
        if bit_depth not in (None, *range(9, 17)):
            raise ValueError(
                f"{name}'s bit_depth must be 9 to 16, the bits that the camera uses, "
                f'or None, got {bit_depth!r}'
            )
        for option, value in (('min_side', min_side), ('bit_depth', bit_depth)):
            if value and (imdecode_backend != 'cv2' or color_type == 'unchanged'):
                raise ValueError(
                    f"{name}'s {option} needs imdecode_backend='cv2' and a color_type "
                    f"other than 'unchanged', got {imdecode_backend!r} and "
                    f'{color_type!r}'
                )
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend=imdecode_backend,
            backend_args=backend_args,
        )
        self.on_error = on_error
        self.min_side = min_side
        self.max_pixels = max_pixels
        self.bit_depth = bit_depth

    def _content(self, results: dict) -> bytes:
        """Return the encoded image of one sample."""
        return fileio.get(results['img_path'], backend_args=self.backend_args)

    def _check_size(self, content: bytes) -> None:
        """Refuse an image of too many pixels before it is decoded."""
        if self.max_pixels is None:
            return
        size = image_size(content)
        if size is None:
            unchecked = ', or only where max_pixels=None leaves its size unchecked'
            raise OSError(
                describe_unreadable(content)
                + (unchecked if content.startswith(IMAGE_STARTS) else '')
            )
        if size[0] * size[1] > self.max_pixels:
            raise OSError(
                f'it has {size[1]} x {size[0]} = {size[0] * size[1]} pixels, more than '
                f'max_pixels={self.max_pixels} allows'
            )

    def _flag(self, content: bytes) -> str | int:
        """Return what to tell the decoder about colour and size."""
        if self.min_side is None:
            return self.color_type
        side = min(jpeg_size(content) or (0,))
        for divisor, flag in REDUCED_FLAGS.items():
            if side // divisor >= self.min_side:
                return imread_flags[self.color_type] | flag
        return self.color_type

    def _decode(self, content: bytes, flag: str | int) -> np.ndarray | None:
        # The size is checked already, and Pillow's own limit may be lower.
        pillow = self.imdecode_backend == 'pillow'
        with (
            no_pillow_limit() if pillow else contextlib.nullcontext(),
            contextlib.suppress(UnidentifiedImageError),
        ):
            return mmcv.imfrombytes(content, flag=flag, backend=self.imdecode_backend)
        return None

    def _read(self, results: dict) -> np.ndarray:
        """Return the decoded image; any exception means that the file is no good."""
        content = self._content(results)
        if not content:
            raise OSError(f'the {self.unit} is empty')
        if is_truncated(content):
            raise OSError(f'the {self.unit} is truncated')
        self._check_size(content)
        flag = self._flag(content)
        if self.bit_depth is None:
            img = self._decode(content, flag)
        else:
            img = decode_deep(content, flag, self.bit_depth)
        if img is None:
            raise OSError(describe_unreadable(content))
        if self.bit_depth is None and self.color_type != 'unchanged':
            pillow = self.imdecode_backend == 'pillow'
            path, owner = results['img_path'], type(self).__name__
            warn_of_lost_bits(content, img, path, owner, pillow)
        return img

    def transform(self, results: dict) -> dict | None:
        """Load the image of one sample.

        Args:
            results: The sample, with its ``img_path``.

        Returns:
            The same dict with the image in it; None for a bad file to skip.

        Raises:
            OSError: If the file is bad and ``on_error`` is 'raise'.
        """
        if 'img' in results and 'img_path' not in results:
            # Read already by an inferencer of mmpretrain, which takes out mmcv's step.
            return results
        try:
            img = self._read(results)
        # Decoders raise whatever they like, SyntaxError and struct.error included.
        except Exception as error:
            path = printable(results['img_path'])
            problem = f'Cannot load the image {path}: {printable(error)}.'
            if self.on_error == 'raise':
                raise OSError(
                    f'{problem} Remove or replace the {self.unit}, or pass '
                    f"on_error='skip' to {type(self).__name__} to train without it."
                ) from error
            # mmengine's handlers drop a warning that they have shown before.
            print_log(
                f"{problem} Skipped (on_error='skip').", 'current', logging.WARNING
            )
            return None
        if self.to_float32:
            img = img.astype(np.float32)
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(to_float32={self.to_float32}, '
            f'color_type={self.color_type!r}, '
            f'imdecode_backend={self.imdecode_backend!r}, '
            f'on_error={self.on_error!r}, min_side={self.min_side}, '
            f'max_pixels={self.max_pixels}, bit_depth={self.bit_depth}, '
            f'backend_args={self.backend_args})'
        )


@TRANSFORMS.register_module()
class LoadImageFromBytes(LoadImage):
    """Decode an image that the data set has read already, checked as by ``LoadImage``.

    For data sets that keep many images in one file: ``TSVDataset``, ``ZipImages``.

    Required keys: ``img_bytes``, the encoded image, and ``img_path``, its name in
    messages. Optional key: ``img_error``, why the data set could not read the bytes,
    which ``on_error`` answers to. Both ``img_bytes`` and ``img_error`` are removed.
    Added keys: those of ``LoadImage``.

    Args:
        to_float32: Whether to return float32 instead of uint8. Defaults to False.
        color_type: As for ``mmcv.imfrombytes``. Defaults to 'color'.
        imdecode_backend: The decoder, as for ``mmcv.imfrombytes``. Defaults to 'cv2'.
        on_error: As for ``LoadImage``: 'raise' (default) or 'skip'.
        min_side: As for ``LoadImage``: pixels to leave to the shorter side, or None
            (default).
        max_pixels: As for ``LoadImage``: the most pixels to decode, or None. Defaults
            to 178956970.
        bit_depth: As for ``LoadImage``: significant bits of 16, or None (default).

    Raises:
        ValueError: As for ``LoadImage``.
    """

    unit = 'record'

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        on_error: str = 'raise',
        min_side: int | None = None,
        max_pixels: int | None = MAX_PIXELS,
        bit_depth: int | None = None,
    ) -> None:
        super().__init__(
            to_float32,
            color_type,
            imdecode_backend,
            on_error,
            min_side,
            max_pixels,
            bit_depth,
        )

    def _content(self, results: dict) -> bytes:
        content, problem = results.pop('img_bytes'), results.pop('img_error', None)
        if problem:
            raise OSError(problem)
        return content

    def transform(self, results: dict) -> dict | None:
        """Decode the image of one sample.

        Args:
            results: The sample, with its ``img_bytes`` and ``img_path``.

        Returns:
            The same dict with the image in it; None for a bad record to skip.

        Raises:
            KeyError: If the sample has no ``img_bytes``.
            OSError: If the record is bad and ``on_error`` is 'raise'.
        """
        if 'img_bytes' not in results:
            raise KeyError(
                f"LoadImageFromBytes needs 'img_bytes', got only {sorted(results)}: "
                'use LoadImage for a data set of image files'
            )
        return super().transform(results)
