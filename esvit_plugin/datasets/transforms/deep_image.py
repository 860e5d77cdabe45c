"""Images with 16 bits per channel, of which 8 are kept."""

import logging

import cv2
import mmcv
import numpy as np
from mmcv.image.io import imread_flags
from mmengine.logging import print_log

from ..paths import printable
from .image_header import may_be_deep

# Cameras of 10 to 14 bits leave at most 63 of 255 in the high byte, rounded 64.
MOST_BITS = 14
DARK = 64
# Above this share of values, a depth is wrong.
MANY = 0.01
_warned: set[str] = set()


def _decode(content: bytes, flag: str | int) -> np.ndarray | None:
    """Decode integers of more than 8 bits to uint16, all else to uint8."""
    number = imread_flags[flag] if isinstance(flag, str) else flag
    img = mmcv.imfrombytes(content, number | cv2.IMREAD_ANYDEPTH, backend='cv2')
    if img is not None and img.dtype not in (np.uint8, np.uint16):
        return mmcv.imfrombytes(content, flag, backend='cv2')
    return img


def decode_deep(content: bytes, flag: str | int, bit_depth: int) -> np.ndarray | None:
    """Decode an image so that the full range of a camera becomes 0 to 255.

    Args:
        content: The encoded image.
        flag: The flag of ``mmcv.imfrombytes``.
        bit_depth: The bits of the camera, 9 to 16.

    Returns:
        uint8, as it is of an image of 8 bits; None if it cannot be decoded.

    Raises:
        OSError: If more than 1% of the values are above the range.
    """
    img = _decode(content, flag)
    if img is None or img.dtype != np.uint16:
        return img
    # Some above the range may be dead pixels, or come from lossy compression.
    if np.count_nonzero(img >> bit_depth) > img.size * MANY:
        bits = int(img.max()).bit_length()
        raise OSError(
            f'it has many values above the range of bit_depth={bit_depth}, up to '
            f'{img.max()}: pass bit_depth={bits} or None'
        )
    return np.minimum(img >> (bit_depth - 8), 255).astype(np.uint8)


def warn_of_lost_bits(
    content: bytes, img: np.ndarray, path: object, owner: str, pillow: bool
) -> None:
    """Warn, once per process, of an image that lost its content with its low bits.

    Decoders keep the high byte of 16 bits. Pillow does so of colours, but of grey
    images it makes every value above 255 white.

    Args:
        content: The encoded image.
        img: What it was decoded to, of 8 bits.
        path: Its name, for the message.
        owner: The transform, for the message.
        pillow: Whether Pillow decoded it.
    """
    if _warned or not may_be_deep(content):
        return
    white = pillow and np.count_nonzero(img == 255) > img.size // 2
    if not white and img.max(initial=0) > DARK:
        return
    deep = _decode(content, 'color')
    if deep is None or deep.dtype != np.uint16 or not deep.any():
        return
    top = int(deep.max())
    # White may be meant to be.
    if np.median(deep) >= 255 << 8 if white else top >= 1 << MOST_BITS:
        return
    _warned.add(owner)
    print_log(
        f'The image {printable(path)} has 16 bits per channel, but no value above '
        f'{top}, and comes out nearly {"white" if white else "black"} in 8 bits: pass '
        + ("imdecode_backend='cv2' and " if pillow else '')
        + f'bit_depth={max(9, top.bit_length())}, or the bits of its camera, to '
        f'{owner}. Others like it are not warned of.',
        'current',
        logging.WARNING,
    )
