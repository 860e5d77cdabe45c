"""Images of too many pixels are refused by their header, before they are decoded."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from esvit_plugin.datasets import ImageFiles, LoadImage, LoadImageFromBytes
from esvit_plugin.datasets.transforms.image_header import image_size, is_truncated

SIDES = 37, 53
FORMATS = {
    'jpg': dict(format='JPEG'),
    'progressive.jpg': dict(format='JPEG', progressive=True),
    'png': dict(format='PNG'),
    'interlaced.png': dict(format='PNG', interlace=True),
    'bmp': dict(format='BMP'),
    'gif': dict(format='GIF'),
    'webp': dict(format='WEBP'),
    'lossless.webp': dict(format='WEBP', lossless=True),
    'exif.webp': dict(format='WEBP', exif=b'Exif\0\0MM\0*\0\0\0\x08\0\0'),
    'tif': dict(format='TIFF'),
    'lzw.tiff': dict(format='TIFF', compression='tiff_lzw'),
    'big.tiff': dict(format='TIFF', big_tiff=True),
    'ppm': dict(format='PPM'),
    'jp2': dict(format='JPEG2000'),
    'avif': dict(format='AVIF'),
    'tga': dict(format='TGA'),
}


def encoded(ending, size=SIDES[::-1], mode='RGB'):
    buffer = io.BytesIO()
    Image.new(mode, size, 'red').save(buffer, **FORMATS[ending])
    return buffer.getvalue()


@pytest.mark.parametrize('ending', FORMATS)
def test_size_is_that_of_pillow(ending):
    content = encoded(ending)
    assert image_size(content) == SIDES
    assert not is_truncated(content)


@pytest.mark.parametrize('ending', ['.tiff', '.pgm', '.bmp', '.sr', '.pfm'])
def test_size_is_that_of_opencv(ending):
    img = np.zeros(SIDES, np.float32 if ending == '.pfm' else np.uint8)
    assert image_size(cv2.imencode(ending, img)[1].tobytes()) == SIDES


def test_other_headers():
    big_endian = b'MM\0*' + struct.pack(
        '>IHHHIHHHHIHHI', 8, 2, 256, 3, 1, 53, 0, 257, 3, 1, 37, 0, 0
    )
    assert image_size(big_endian) == SIDES
    assert image_size(b'P6 # 1 1\n#2\n53\n# 3 3\n37 255\n') == SIDES
    for content in (b'', b'text', b'BM', b'II*\0', b'RIFF1234WEBPVP8 ', b'P6 53'):
        assert image_size(content) is None


@pytest.mark.parametrize('ending', FORMATS)
@pytest.mark.parametrize('cls', [LoadImage, LoadImageFromBytes])
def test_limit(tmp_path, ending, cls):
    path = tmp_path / f'a.{ending}'
    path.write_bytes(encoded(ending))
    results = dict(img_path=str(path), img_bytes=path.read_bytes())
    for options in (dict(imdecode_backend='pillow'), dict(min_side=4), {}):
        with pytest.raises(OSError) as caught:
            cls(max_pixels=37 * 53 - 1, **options)(dict(results))
        for words in (str(path), '53 x 37 = 1961 pixels', 'max_pixels=1960', 'skip'):
            assert words in str(caught.value)
    assert cls(max_pixels=1960, on_error='skip')(dict(results)) is None
    options = dict(imdecode_backend='pillow') if ending in ('tga', 'gif') else {}
    assert cls(max_pixels=1961, **options)(dict(results))['img'].shape[:2] == SIDES


def warned(records):
    """Not of what an earlier test left open and is collected now."""
    return [one for one in records if one.category is not ResourceWarning]


def huge_png(side=20_000):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)

    header = struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 9)
    parts = chunk(b'IHDR', header) + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + parts


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_a_small_file_of_a_huge_image(backend, recwarn, request):
    content = huge_png()
    assert len(content) < 2**17
    request.addfinalizer(tracemalloc.stop)
    tracemalloc.start()
    with pytest.raises(OSError, match='20000 x 20000 = 400000000 .*=178956970 allows'):
        LoadImageFromBytes(imdecode_backend=backend)(
            dict(img_path='a.png', img_bytes=content)
        )
    assert tracemalloc.get_traced_memory()[1] < 2**22
    assert not warned(recwarn)


def test_pillows_own_limit_is_replaced(monkeypatch, recwarn):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    for limit in (1961, None):
        load = LoadImageFromBytes(imdecode_backend='pillow', max_pixels=limit)
        for ending in ('png', 'tga'):
            results = dict(img_path='a', img_bytes=encoded(ending))
            assert load(results)['img'].shape[:2] == SIDES
    assert not warned(recwarn) and Image.MAX_IMAGE_PIXELS == 100


def test_a_jpeg_cannot_hide_its_size():
    """Bytes that decoders skip must not turn the header into another one."""
    content = encoded('jpg')
    decoy = b'\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0'
    for alone in (b'\xff\x01', b'\xff\xd0'):
        # Read as a segment, the lone marker would end where the decoy begins.
        hidden = alone + content[2:]
        assert image_size(content[:2] + hidden) == SIDES
    assert image_size(content[:2] + b'\xff\0\0\x02' + decoy + content[2:]) is None
    assert image_size(content[:2] + b'\xff\xe0\0\0' + decoy + content[2:]) is None


def test_unknown_headers_need_no_limit():
    img = np.full((*SIDES, 3), 0.5, np.float32)
    results = dict(img_path='a.hdr', img_bytes=cv2.imencode('.hdr', img)[1].tobytes())
    with pytest.raises(OSError, match='cannot read it as an image.*max_pixels=None'):
        LoadImageFromBytes()(dict(results))
    assert LoadImageFromBytes(max_pixels=None)(results)['img'].shape[:2] == SIDES


def test_features_are_taken_within_the_limit(tmp_path):
    (tmp_path / 'a.png').write_bytes(huge_png())
    (tmp_path / 'b.png').write_bytes(encoded('png'))
    images = ImageFiles([str(tmp_path)], 8)
    assert images[0] is None and images[1][0] == 1


def test_bad_limits():
    for value in (0, -1, 2.5, 'x'):
        with pytest.raises(ValueError, match=f'max_pixels.*positive.*{value!r}'):
            LoadImage(max_pixels=value)
    assert 'max_pixels=178956970' in repr(LoadImage())
