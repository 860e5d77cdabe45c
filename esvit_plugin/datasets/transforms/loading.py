"""Loading an image file or record, with a clear answer to a damaged one."""

import logging
import struct
from typing import Any

import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# A PNG ends with an empty IEND chunk, so its checksum is the same in every file.
PNG_END = b'IEND\xaeB`\x82'
JPEG_START = b'\xff\xd8'
JPEG_END = b'\xff\xd9'
JPEG_SCAN = 0xDA


def _jpeg_scan_start(content: bytes) -> int:
    """Return the offset of a JPEG's first scan; -1 if the file ends before it."""
    position = len(JPEG_START)
    while position + 4 <= len(content):
        fill, marker, length = struct.unpack_from('>BBH', content, position)
        if fill != 0xFF:
            return -1
        if marker == 0xFF:  # markers may be padded with any number of 0xFF
            position += 1
            continue
        position += 2 + length
        if marker == JPEG_SCAN:
            return position
    return -1


def is_truncated(content: bytes) -> bool:
    """Say whether a JPEG or PNG file stops before its end marker.

    The end marker of a JPEG is looked for after the header, since the header may hold
    a thumbnail with a marker of its own; inside the coded data it cannot occur.
    Other formats give False: their decoders notice by themselves.

    Args:
        content: The bytes of the file.
    """
    if content.startswith(JPEG_START):
        start = _jpeg_scan_start(content)
        return start < 0 or content.rfind(JPEG_END, start) < 0
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
    default; ``img_shape`` and ``ori_shape``, (H, W).

    Args:
        to_float32: Whether to return float32 instead of uint8. Defaults to False.
        color_type: As for ``mmcv.imfrombytes``. Defaults to 'color'.
        imdecode_backend: The decoder, as for ``mmcv.imfrombytes``. Defaults to 'cv2'.
        on_error: What to do about a file that is missing, empty, no image or
            truncated: 'raise' (default), or 'skip' to log a warning, once per file
            and process, and return None. The data set then draws another sample at
            random (``max_refetch``), from numpy's global state: *which* one depends on
            the number of workers.
        backend_args: Of the file backend, as for ``mmengine.fileio.get``.

    Raises:
        ValueError: If ``on_error`` is neither 'raise' nor 'skip'.
    """

    # What the messages call the thing that holds one encoded image.
    unit = 'file'

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        on_error: str = 'raise',
        *,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        if on_error not in ('raise', 'skip'):
            raise ValueError(
                f"{type(self).__name__}'s on_error must be 'raise' or 'skip', got "
                f'{on_error!r}'
            )
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend=imdecode_backend,
            backend_args=backend_args,
        )
        self.on_error = on_error

    def _content(self, results: dict) -> bytes:
        """Return the encoded image of one sample."""
        return fileio.get(results['img_path'], backend_args=self.backend_args)

    def _read(self, results: dict) -> np.ndarray:
        """Return the decoded image; any exception means that the file is no good."""
        content = self._content(results)
        if not content:
            raise OSError(f'the {self.unit} is empty')
        if is_truncated(content):
            raise OSError(f'the {self.unit} is truncated')
        img = mmcv.imfrombytes(
            content, flag=self.color_type, backend=self.imdecode_backend
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
            f'on_error={self.on_error!r}, backend_args={self.backend_args})'
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

    Raises:
        ValueError: If ``on_error`` is neither 'raise' nor 'skip'.
    """

    unit = 'record'

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        on_error: str = 'raise',
    ) -> None:
        super().__init__(to_float32, color_type, imdecode_backend, on_error)

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
