"""Files that are no image, or none that a decoder reads, are called what they are."""

import io
import zipfile

import pytest
from PIL import Image

import esvit_plugin
from esvit_plugin.datasets import ImageFiles, LoadImage, LoadImageFromBytes


def encoded(kind):
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert('RGB').save(buffer, kind)
    return buffer.getvalue()


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        file.writestr('a.jpg', encoded('JPEG'))
    return buffer.getvalue()


FILES = {
    'page.jpg': (b'<!DOCTYPE html><p>404', "no image (it begins with b'<!DOCTYPE html"),
    'text.png': (b'Not found', "no image (it begins with b'Not found')"),
    'archive.jpg': (archive(), r"no image (it begins with b'PK\x03\x04"),
    'empty.jpg': (b'', 'is empty'),
    'cut.jpg': (encoded('JPEG')[:-90], 'is truncated'),
    'unfinished.jpg': (encoded('JPEG')[:-2] + b'\xff\xff', 'is truncated'),
    'cut.png': (encoded('PNG')[:-90], 'is truncated'),
    'cut.gif': (encoded('GIF')[:9], 'the decoder cannot read it as an image'),
    'drawing.png': (b'<?xml version="1.0"?>\n<svg width="9">', 'an SVG drawing, which'),
    'phone.jpg': (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'a HEIC image, which'),
}


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize(
    'options',
    [{}, dict(max_pixels=None), dict(bit_depth=12), dict(imdecode_backend='pillow')],
)
def test_loaders_say_what_a_file_is(tmp_path, name, options):
    content, reason = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    for load, sample in (
        (LoadImage(**options), {}),
        (LoadImageFromBytes(**options), dict(img_bytes=content)),
    ):
        with pytest.raises(OSError) as caught:
            load(dict(img_path=str(path), **sample))
        assert reason in str(caught.value) and str(path) in str(caught.value)
        assert ('truncated' in str(caught.value)) == ('truncated' in reason)


@pytest.mark.parametrize('name', FILES)
def test_evaluations_say_so_too(tmp_path, logged, name):
    content, reason = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert ImageFiles([str(tmp_path)] if 'gif' not in name else [str(path)])[0] is None
    assert any(reason in line for line in logged)
    with pytest.raises(OSError) as caught:
        esvit_plugin.prepare_images(str(path))
    assert reason in str(caught.value)


def test_a_folder_with_the_name_of_an_image(tmp_path):
    (tmp_path / 'x.jpg').mkdir()
    (tmp_path / 'x.jpg' / 'a.png').write_bytes(encoded('PNG'))
    with pytest.raises(OSError, match='Is a directory'):
        LoadImage()(dict(img_path=str(tmp_path / 'x.jpg')))
    # As a source it is a folder like any other.
    assert len(ImageFiles([str(tmp_path)])) == 1
