"""Names of files that are no UTF-8, or were made to mislead."""

import io
import os

import pytest
from mmengine.logging import MMLogger
from PIL import Image

from esvit_plugin.datasets import ImageFiles, LoadImage, UnlabeledFolder, WebVision
from esvit_plugin.datasets.array_dataset import PackedStrings
from esvit_plugin.datasets.paths import inside, printable

ODD = b'b\xe4r\n\x1b[31m.png'


@pytest.fixture
def folder(tmp_path):
    """A folder with an image of a Latin-1 name, and one of a UTF-8 name."""
    buffer = io.BytesIO()
    Image.new('RGB', (8, 8)).save(buffer, 'PNG')
    for name in (ODD, 'ä.png'.encode()):
        with open(os.path.join(os.fsencode(tmp_path), name), 'wb') as file:
            file.write(buffer.getvalue())
    return tmp_path


def test_printable():
    assert printable('/a/ä b.jpg') == '/a/ä b.jpg'
    assert printable(os.fsdecode(ODD)) == 'b\\udce4r\\n\\x1b[31m.png'
    assert printable(OSError('x\ud800\n')) == 'x\\ud800\\n'


def test_odd_names_are_found_and_loaded(folder):
    dataset = UnlabeledFolder(folder, pipeline=[dict(type='LoadImage')])
    paths = {os.fsencode(os.path.basename(dataset[i]['img_path'])) for i in range(2)}
    assert paths == {ODD, 'ä.png'.encode()}
    images = ImageFiles([str(folder)], 8)
    assert images[0] is not None and images[1] is not None


def test_odd_names_in_lists(folder):
    name = b'b\xe4r.png'
    os.rename(os.path.join(os.fsencode(folder), ODD), os.fsencode(folder) + b'/' + name)
    (folder / 'list.txt').write_bytes(name + b'\r\n\n' + 'ä.png'.encode())
    dataset = UnlabeledFolder(
        folder, ann_file='list.txt', pipeline=[dict(type='LoadImage')]
    )
    assert len(dataset) == 2 and dataset[0]['img'].shape == (8, 8, 3)
    (folder / 'info').mkdir()
    (folder / 'info/train_filelist_x.txt').write_bytes(name + b' 3\n')
    (info,) = [WebVision(folder, sources='x').get_data_info(0)]
    assert os.fsencode(info['img_path']).endswith(name) and info['gt_label'] == 3


def test_packed_strings_keep_odd_names():
    names = [os.fsdecode(ODD), 'zwölf', '\ud800']
    packed = PackedStrings(names)
    assert [packed[i] for i in range(3)] == names


def test_odd_names_are_logged(folder, capsys):
    """Neither to a terminal nor to a file does the logger fail."""
    path = os.path.join(folder, os.fsdecode(ODD))
    with open(path, 'wb') as file:
        file.write(b'no image')
    MMLogger._instance_dict.clear()
    MMLogger.get_instance('names', log_file=str(folder / '.log.txt'))
    assert LoadImage(on_error='skip')(dict(img_path=path)) is None
    os.remove(path)
    assert LoadImage(on_error='skip')(dict(img_path=path)) is None  # OSError's own text
    os.symlink('nowhere', path)
    UnlabeledFolder(folder)
    captured = capsys.readouterr()
    assert 'Logging error' not in captured.err + captured.out
    lines = (folder / '.log.txt').read_text(encoding='utf-8').splitlines()
    assert len(lines) == 3 and all('b\\udce4r\\n\\x1b[31m' in x for x in lines)


@pytest.mark.parametrize('make', [UnlabeledFolder, lambda x: ImageFiles([x])])
def test_messages_can_be_written(tmp_path, make):
    folder = os.path.join(tmp_path, os.fsdecode(b'\xff'))
    for _ in range(2):  # missing, then empty
        with pytest.raises((OSError, ValueError)) as caught:
            make(folder)
        assert '\\udcff' in str(caught.value) and str(caught.value).encode()
        os.makedirs(folder, exist_ok=True)
    with pytest.raises(OSError) as caught:
        LoadImage()(dict(img_path=folder + '/gone.png'))
    assert str(caught.value).encode()


GOOD = ['a.jpg', 'a/b.jpg', 'a/../b.jpg', '..a.jpg', 'a../b.jpg', 'a..b.jpg', '']
BAD = ['../x', '..', 'a/../../x', '/etc/passwd', '//x', './../x', 'a/b/../../../x']


def test_inside():
    for name in GOOD:
        assert inside('data', name, 'a list') == os.path.join('data', name)
    for name in BAD:
        with pytest.raises(ValueError, match=r'list, line 3: .* out of .*data: ') as e:
            inside('data', name, 'list, line 3')
        assert repr(name) in str(e.value)
    assert inside('data', '/x.jpg', 'a list', absolute=True) == '/x.jpg'
    with pytest.raises(ValueError, match='out of'):
        inside('data', '../x.jpg', 'a list', absolute=True)
