"""What the first bytes of an encoded image say, without decoding it."""

import contextlib
import io
import re
import struct
import threading
from collections.abc import Iterator

from PIL import Image

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# A PNG ends with an empty IEND chunk, so its checksum is the same in every file.
PNG_END = b'IEND\xaeB`\x82'
JPEG_START = b'\xff\xd8'
JPEG_END = b'\xff\xd9'
JPEG_SCAN = 0xDA
# The segments that state the size: all of 0xC0-0xCF but three of other use.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone: TEM and the restart markers.
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# Width and height of PBM, PGM, PPM and PFM, between white space and comments.
NETPBM = re.compile(
    rb'P[1-6Ff](?:\s|#[^\r\n]*[\r\n])+(\d+)(?:\s|#[^\r\n]*[\r\n])+(\d+)'
)
TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
# Formats whose 16-bit values a decoder to 8 bits shifts by 8, whatever the camera.
DEEP_STARTS = (
    *TIFF_STARTS,
    b'P2',
    b'P3',
    b'P5',
    b'P6',
    b'\0\0\0\x0cjP  ',
    b'\xff\x4f\xff\x51',
)
# What images begin with that some decoder reads: those above, GIF, BMP, WebP,
# OpenEXR, Radiance HDR, JPEG 2000, Sun raster, PAM and icons.
IMAGE_STARTS = (
    *DEEP_STARTS,
    PNG_SIGNATURE,
    JPEG_START,
    b'GIF8',
    b'BM',
    b'RIFF',
    b'v/1\x01',
    b'#?R',
    b'\x59\xa6\x6a\x95',
    b'P1',
    b'P4',
    b'P7',
    b'PF',
    b'Pf',
    b'\0\0\1\0',
)
# The kinds of files that begin with their length and 'ftyp'.
HEIC_KINDS = (b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis', b'mif1', b'msf1')
AVIF_KINDS = (b'avif', b'avis')
CONVERT = 'which the decoder does not read: convert it to JPEG or PNG'
_pillow_lock = threading.RLock()


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
        if marker in JPEG_ALONE:
            position += 2
            continue
        if not marker or length < 2:  # where to go on is up to the decoder
            return
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


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b'VP8X':
        width, height = (int.from_bytes(content[i : i + 3], 'little') for i in (24, 27))
        return height + 1, width + 1
    if kind == b'VP8L':
        bits = int.from_bytes(content[21:25], 'little')
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', content, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _bmp_size(content: bytes) -> tuple[int, int]:
    old = struct.unpack_from('<I', content, 14)[0] == 12
    width, height = struct.unpack_from('<HH' if old else '<ii', content, 18)
    return abs(height), abs(width)


def _tiff_size(content: bytes) -> tuple[int, int]:
    """Read the first directory; of a size stated twice the larger counts."""
    order = '<' if content.startswith(b'I') else '>'
    big = content[2:4] in (b'+\0', b'\0+')
    (start,) = struct.unpack_from(
        f'{order}{"Q" if big else "I"}', content, 8 if big else 4
    )
    (number,) = struct.unpack_from(f'{order}{"Q" if big else "H"}', content, start)
    first, length, value = (8, 20, 12) if big else (2, 12, 8)
    sides = {256: 0, 257: 0}
    for place in range(start + first, start + first + number * length, length):
        tag, kind = struct.unpack_from(f'{order}HH', content, place)
        if tag in sides:
            form = {3: 'H', 4: 'I', 16: 'Q'}[kind]
            (side,) = struct.unpack_from(f'{order}{form}', content, place + value)
            sides[tag] = max(sides[tag], side)
        if tag > 257:  # they are in order
            break
    return sides[257], sides[256]


@contextlib.contextmanager
def no_pillow_limit() -> Iterator[None]:
    """Let Pillow open images of any size; it neither warns nor refuses."""
    with _pillow_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _stated_size(content: bytes) -> tuple[int, int] | None:
    if content.startswith(JPEG_START):
        return jpeg_size(content)
    if content.startswith(PNG_SIGNATURE):
        width, height = struct.unpack_from('>II', content, 16)
        return height, width
    if content.startswith(b'RIFF') and content[8:12] == b'WEBP':
        return _webp_size(content)
    if content.startswith(b'BM'):
        return _bmp_size(content)
    if content.startswith((b'GIF87a', b'GIF89a')):
        width, height = struct.unpack_from('<HH', content, 6)
        return height, width
    if content.startswith(TIFF_STARTS):
        return _tiff_size(content)
    if match := NETPBM.match(content):
        return int(match[2]), int(match[1])
    # Pillow reads every other header, but takes as long as decoding a small image.
    with no_pillow_limit(), Image.open(io.BytesIO(content)) as image:
        return image.height, image.width


def image_size(content: bytes) -> tuple[int, int] | None:
    """Return the height and width that an image's header states, before any rotation.

    Args:
        content: The bytes of the file.

    Returns:
        None if the header is damaged, or of an unknown format.
    """
    try:
        size = _stated_size(content)
    # Pillow raises whatever it likes, as decoders do.
    except Exception:
        return None
    return size if size and min(size) > 0 else None


def may_be_deep(content: bytes) -> bool:
    """Say whether an image may have 16 bits per channel, of which decoders keep 8."""
    if content.startswith(PNG_SIGNATURE):
        return content[24:25] == b'\x10'
    return content.startswith(DEEP_STARTS)


def describe_unreadable(content: bytes) -> str:
    """Say why a decoder may have refused a file, by what the file begins with.

    Args:
        content: The bytes of the file; not empty.

    Returns:
        The end of a sentence: that it is no image, an image of a kind that is not
        read, or one that cannot be read.
    """
    kind = content[8:12] if content[4:8] == b'ftyp' else b''
    if kind in HEIC_KINDS:
        return f'it is a HEIC image, {CONVERT}'
    if kind in AVIF_KINDS:
        return f'it is an AVIF image, {CONVERT}'
    if b'<svg' in content[:1024]:
        return f'it is an SVG drawing, {CONVERT}'
    if content.startswith(IMAGE_STARTS):
        return 'the decoder cannot read it as an image'
    return f'it is no image (it begins with {content[:16]!r})'
