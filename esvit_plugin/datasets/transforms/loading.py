"""Loading an image file or record, with a clear answer to a damaged one."""

import logging
import struct
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.image.io import imread_flags
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# A PNG ends with an empty IEND chunk, so its checksum is the same in every file.
PNG_END = b'IEND\xaeB`\x82'
JPEG_START = b'\xff\xd8'
JPEG_END = b'\xff\xd9'
JPEG_SCAN = 0xDA
# The segments that state the size: all of 0xC0-0xCF but three of other use.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# OpenCV's flags for decoding at 1/8, 1/4, 1/2, beside those of colour and orientation.
REDUCED_FLAGS = {8: 64, 4: 32, 2: 16}


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the data of each segment up to the first scan."""
    position = len(JPEG_START)
    while position + 4 <= len(content):
        fill, marker, length = struct.unpack_from('>BBH', content, position)
        if fill != 0xFF:
            return
        if marker == 0xFF:  # markers may be padded with any number of 0xFF
            position += 1
            continue
        yield marker, position + 4, position + 2 + length
        position += 2 + length
        if marker == JPEG_SCAN:
            return


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Return the height and width that a JPEG's header states, before any rotation.

    Args:
        content: The bytes of the file.

    Returns:
        None if it is no JPEG, or its header is damaged.
    """
    if not content.startswith(JPEG_START):
        return None
    for marker, start, end in _jpeg_segments(content):
        if marker in JPEG_FRAMES and start + 5 <= min(end, len(content)):
            height, width = struct.unpack_from('>HH', content, start + 1)
            return height, width
    return None


def is_truncated(content: bytes) -> bool:
    """Say whether a JPEG or PNG file stops before its end marker.

    The end marker of a JPEG is looked for after the header, since the header may hold
    a thumbnail with a marker of its own; inside the coded data it cannot occur.
    Other formats give False: their decoders notice by themselves.

    Args:
        content: The bytes of the file.
    """
    if content.startswith(JPEG_START):
        for marker, _, end in _jpeg_segments(content):
            if marker == JPEG_SCAN:
                return content.rfind(JPEG_END, end) < 0
        return True
    return content.startswith(PNG_SIGNATURE) and content.rfind(PNG_END) < 0


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image file as mmcv's ``LoadImageFromFile``, and check that it is whole.

    Whether OpenCV notices a truncated JPEG depends on its version: 4.8 returns an image
    whose missing part is arbitrary, 4.11 and 5.0 none. So the end marker of JPEG and
    PNG files is looked for first, whatever the decoder: a byte search from the end of
    the file, below 1% of the time of decoding. (The 'pillow' decoder notices a
    truncated JPEG too, but takes over 1.5 times as long as OpenCV for every good one.)
    Damage in the middle of a file that does not stop the decoder stays unnoticed.

    Required key: ``img_path``. Added keys: ``img``, uint8 of shape (H, W, 3) in BGR by
    default; ``img_shape`` and ``ori_shape``, (H, W) of that array.

    Args:
        to_float32: Whether to return float32 instead of uint8. Defaults to False.
        color_type: As for ``mmcv.imfrombytes``. Defaults to 'color'.
        imdecode_backend: The decoder, as for ``mmcv.imfrombytes``. Defaults to 'cv2'.
        on_error: What to do about a file that is missing, empty, no image or
            truncated: 'raise' (default), or 'skip' to log a warning, once per file
            and process, and return None. The data set then draws another sample at
            random (``max_refetch``), from numpy's global state: *which* one depends on
            the number of workers.
        min_side: Decode a JPEG at 1/2, 1/4 or 1/8 of its size, the smallest that
            leaves the shorter side at least so many pixels: photographs above twice
            that take a fraction of the time, others are as without. ``MultiCrop``
            enlarges nothing more for it from ``size / sqrt(0.75 * scale)`` on, with a
            group's least scale: 500 for the paper's views, which then differ from
            those of full size by less than a grey level in the mean. Defaults to
            None, full size.
        backend_args: Of the file backend, as for ``mmengine.fileio.get``.

    Raises:
        ValueError: If ``on_error`` is neither 'raise' nor 'skip', ``min_side`` is no
            positive integer, or it is given for a decoder other than 'cv2' or for
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
        *,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        if on_error not in ('raise', 'skip'):
            raise ValueError(
                f"{type(self).__name__}'s on_error must be 'raise' or 'skip', got "
                f'{on_error!r}'
            )
        if min_side is not None:
            if not isinstance(min_side, Integral) or min_side < 1:
                raise ValueError(
                    f"{type(self).__name__}'s min_side must be a positive integer or "
                    f'None, got {min_side!r}'
                )
            if imdecode_backend != 'cv2' or color_type == 'unchanged':
                raise ValueError(
                    f"{type(self).__name__}'s min_side needs imdecode_backend='cv2' "
                    "and a color_type other than 'unchanged', got "
                    f'{imdecode_backend!r} and {color_type!r}'
                )
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend=imdecode_backend,
            backend_args=backend_args,
        )
        self.on_error = on_error
        self.min_side = min_side

    def _content(self, results: dict) -> bytes:
        """Return the encoded image of one sample."""
        return fileio.get(results['img_path'], backend_args=self.backend_args)

    def _flag(self, content: bytes) -> str | int:
        """Return what to tell the decoder about colour and size."""
        if self.min_side is None:
            return self.color_type
        side = min(jpeg_size(content) or (0,))
        for divisor, flag in REDUCED_FLAGS.items():
            if side // divisor >= self.min_side:
                return imread_flags[self.color_type] | flag
        return self.color_type

    def _read(self, results: dict) -> np.ndarray:
        """Return the decoded image; any exception means that the file is no good."""
        content = self._content(results)
        if not content:
            raise OSError(f'the {self.unit} is empty')
        if is_truncated(content):
            raise OSError(f'the {self.unit} is truncated')
        img = mmcv.imfrombytes(
            content, flag=self._flag(content), backend=self.imdecode_backend
        )
        if img is None:
            raise OSError('the decoder cannot read it as an image')
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
        path = results['img_path']
        try:
            img = self._read(results)
        # Decoders raise whatever they like, SyntaxError and struct.error included.
        except Exception as error:
            problem = f'Cannot load the image {path}: {error}.'
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
    ) -> None:
        super().__init__(to_float32, color_type, imdecode_backend, on_error, min_side)

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
