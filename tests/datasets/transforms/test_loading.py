"""LoadImage and its twin for bytes: as mmcv on good images, clear about bad ones."""

import io

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmpretrain.datasets import CustomDataset
from PIL import Image

from esvit_plugin.datasets import LoadImage, LoadImageFromBytes
from esvit_plugin.datasets.transforms.loading import is_truncated, jpeg_size

FORMATS = {
    'jpg': dict(format='JPEG'),
    'jpeg': dict(format='JPEG', progressive=True),
    'png': dict(format='PNG'),
    'bmp': dict(format='BMP'),
    'webp': dict(format='WEBP'),
}


def image():
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC)


def encoded(**options):
    buffer = io.BytesIO()
    image().save(buffer, **options)
    return buffer.getvalue()


def with_thumbnail():
    """A JPEG whose header holds a whole smaller JPEG, end marker included."""
    exif = Image.Exif()
    exif[0x010E] = 'x'
    thumbnail = io.BytesIO()
    image().resize((16, 12)).save(thumbnail, format='JPEG')
    header = b'Exif\x00\x00' + exif.tobytes()[6:] + thumbnail.getvalue()
    return encoded(format='JPEG', exif=header)


def write(path, content):
    path.write_bytes(content)
    return dict(img_path=str(path))


@pytest.mark.parametrize('ending', FORMATS)
def test_equals_mmcv_on_good_files(tmp_path, ending):
    results = write(tmp_path / f'a.{ending}', encoded(**FORMATS[ending]))
    made = LoadImage()(dict(results))
    wanted = LoadImageFromFile()(dict(results))
    np.testing.assert_array_equal(made['img'], wanted['img'])
    assert made['img'].dtype == np.uint8
    assert made['img_shape'] == made['ori_shape'] == wanted['ori_shape'] == (90, 120)


def test_output_is_bgr(tmp_path):
    path = tmp_path / 'blue.png'
    Image.new('RGB', (8, 6), (0, 0, 255)).save(path)
    assert LoadImage()(dict(img_path=str(path)))['img'][0, 0].tolist() == [255, 0, 0]


def test_options_of_mmcv(tmp_path):
    results = write(tmp_path / 'a.png', encoded(format='PNG'))
    floats = LoadImage(to_float32=True)(dict(results))
    assert floats['img'].dtype == np.float32
    grey = LoadImage(color_type='grayscale', imdecode_backend='pillow')(dict(results))
    assert grey['img'].shape == (90, 120)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('ending', FORMATS)
@pytest.mark.parametrize('keep', [0.02, 0.5, 0.97])
def test_truncated_files_are_refused(tmp_path, ending, keep, backend):
    content = encoded(**FORMATS[ending])
    results = write(tmp_path / f'a.{ending}', content[: int(keep * len(content))])
    with pytest.raises(OSError, match=f'a.{ending}'):
        LoadImage(imdecode_backend=backend)(results)


@pytest.mark.parametrize('options', [FORMATS['jpg'], FORMATS['jpeg'], FORMATS['png']])
def test_truncation_is_seen_in_the_bytes(options):
    """Whatever the decoder does: OpenCV 4.8 takes truncated JPEGs."""
    content = encoded(**options)
    assert not is_truncated(content)
    assert not is_truncated(content + bytes(20))
    half = content[: len(content) // 2]
    assert is_truncated(half) and is_truncated(half + bytes(len(half)))
    assert is_truncated(content[:3]) == (options['format'] == 'JPEG')
    assert is_truncated(content[:-2]) and is_truncated(content[:30])


def test_end_marker_of_a_thumbnail_does_not_count():
    content = with_thumbnail()
    assert content.count(b'\xff\xd9') == 2
    assert not is_truncated(content)
    assert is_truncated(content[:-50]) and b'\xff\xd9' in content[:-50]


def test_padded_markers_are_allowed():
    content = encoded(format='JPEG')
    assert not is_truncated(content[:2] + b'\xff\xff' + content[2:])
    assert is_truncated(b'\xff\xd8\x00\x00\x00\x00')


def test_other_content_is_left_to_the_decoder():
    assert not is_truncated(b'BM123') and not is_truncated(b'')


BAD = {
    'empty.png': (b'', 'empty'),
    'text.jpg': (b'not an image at all', "no image (it begins with b'not an image"),
    'cut.jpg': (encoded(format='JPEG')[:-200], 'truncated'),
    'cut.png': (encoded(format='PNG')[:-200], 'truncated'),
}


@pytest.mark.parametrize('name', [*BAD, 'missing.png'])
def test_error_names_file_reason_and_remedies(tmp_path, name):
    path = tmp_path / name
    content, reason = BAD.get(name, (None, 'No such file'))
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OSError) as caught:
        LoadImage()(dict(img_path=str(path)))
    for words in (str(path), reason, 'Remove', "on_error='skip'"):
        assert words in str(caught.value)


@pytest.mark.parametrize('name', BAD)
def test_skip_warns_once_and_returns_none(tmp_path, logged, name):
    results = write(tmp_path / name, BAD[name][0])
    transform = LoadImage(on_error='skip')
    assert transform(dict(results)) is None and transform(dict(results)) is None
    about = [line for line in logged if str(tmp_path / name) in line]
    assert len(about) == 1 and BAD[name][1] in about[0]


def test_data_set_draws_another_sample(tmp_path):
    write(tmp_path / 'a.jpg', BAD['cut.jpg'][0])
    write(tmp_path / 'b.jpg', encoded(format='JPEG'))
    dataset = CustomDataset(
        data_root=str(tmp_path),
        with_label=False,
        pipeline=[dict(type='LoadImage', on_error='skip')],
    )
    assert dataset[0]['img_path'].endswith('b.jpg')


def test_an_image_in_memory_stays_as_it_is():
    results = dict(img=np.zeros((4, 5, 3), np.uint8), img_shape=(4, 5))
    assert LoadImage()(dict(results)) == results


def test_bad_arguments():
    with pytest.raises(ValueError, match="'raise' or 'skip'.*'ignore'"):
        LoadImage(on_error='ignore')
    with pytest.raises(TypeError, match='ignore_empty'):
        LoadImage(ignore_empty=True)


def test_repr():
    assert "on_error='skip'" in repr(LoadImage(on_error='skip'))


@pytest.mark.parametrize('ending', FORMATS)
@pytest.mark.parametrize('options', [{}, dict(to_float32=True, color_type='grayscale')])
def test_bytes_give_the_same_as_the_file(tmp_path, ending, options):
    content = encoded(**FORMATS[ending])
    results = write(tmp_path / f'a.{ending}', content)
    wanted = LoadImage(**options)(dict(results))
    made = LoadImageFromBytes(**options)(dict(results, img_bytes=content))
    np.testing.assert_array_equal(made['img'], wanted['img'])
    assert made['img'].dtype == wanted['img'].dtype
    assert made.keys() == wanted.keys()
    assert made['img_shape'] == made['ori_shape'] == (90, 120)


@pytest.mark.parametrize('name', [*BAD, 'unread'])
def test_bad_bytes(logged, name):
    content, reason = BAD.get(name, (b'', 'line 3 ends early'))
    results = dict(img_path=f'a.tsv, {name}', img_bytes=content)
    if name == 'unread':
        results['img_error'] = reason
    with pytest.raises(OSError) as caught:
        LoadImageFromBytes()(dict(results))
    for words in (f'a.tsv, {name}: ', reason, "on_error='skip' to LoadImageFromBytes"):
        assert words in str(caught.value)
    assert 'file' not in str(caught.value)
    skipping = LoadImageFromBytes(on_error='skip')
    assert skipping(dict(results)) is None and skipping(dict(results)) is None
    assert len([line for line in logged if f'a.tsv, {name}' in line]) == 1


def test_bytes_arguments():
    with pytest.raises(KeyError, match="needs 'img_bytes'.*img_path.*use LoadImage"):
        LoadImageFromBytes()(dict(img_path='a.png'))
    with pytest.raises(ValueError, match="LoadImageFromBytes's on_error.*'ignore'"):
        LoadImageFromBytes(on_error='ignore')
    assert repr(LoadImageFromBytes()).startswith('LoadImageFromBytes(')


# ---------------------------------------------------------------- scaled decoding


def loaded(content, **options):
    results = dict(img_path='a.jpg', img_bytes=content)
    return LoadImageFromBytes(**options)(results)['img']


@pytest.mark.parametrize(
    ('min_side', 'divisor'),
    [(97, 1), (49, 1), (48, 2), (25, 2), (24, 4), (12, 8), (1, 8)],
)
@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(quality=100)])
def test_min_side_chooses_the_scale(min_side, divisor, options):
    file = io.BytesIO()
    image().resize((128, 96)).save(file, format='JPEG', **options)
    content = file.getvalue()
    made = loaded(content, min_side=min_side)
    assert made.shape == (96 // divisor, 128 // divisor, 3)
    full = loaded(content)
    if divisor == 1:
        np.testing.assert_array_equal(made, full)
    size = made.shape[1::-1]
    twin = Image.fromarray(full).resize(size, Image.Resampling.BOX)
    assert np.abs(made.astype(int) - np.asarray(twin)).mean() < 3


def test_min_side_with_files_greys_and_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    results = write(tmp_path / 'a.jpg', encoded(format='JPEG', exif=exif))
    for color_type, shape in (
        ('color', (60, 45, 3)),
        ('color_ignore_orientation', (45, 60, 3)),
        ('grayscale', (60, 45)),
    ):
        made = LoadImage(color_type=color_type, min_side=40)(dict(results))
        assert made['img'].shape == shape
        assert made['img_shape'] == made['ori_shape'] == shape[:2]


def test_min_side_leaves_other_formats_and_bad_files_alone():
    content = encoded(format='PNG')
    np.testing.assert_array_equal(loaded(content, min_side=9), loaded(content))
    with pytest.raises(OSError, match='truncated'):
        loaded(encoded(format='JPEG')[:100], min_side=9)
    assert jpeg_size(encoded(format='JPEG')[:100]) is None
    assert jpeg_size(content) is None


def test_bad_min_side():
    for value in (0, -1, 2.5, 'x'):
        with pytest.raises(ValueError, match=f'min_side.*positive.*{value!r}'):
            LoadImage(min_side=value)
    for options in (dict(imdecode_backend='pillow'), dict(color_type='unchanged')):
        with pytest.raises(ValueError, match="LoadImageFromBytes's min_side.*cv2"):
            LoadImageFromBytes(min_side=9, **options)
