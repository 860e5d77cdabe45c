"""Labelled images in folders, and in lists with labels."""

import os

import pytest
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS
from support import made_up_data


@pytest.fixture
def folder(tmp_path):
    for name in ('bee/x/1.WEBP', 'ant/1.tiff', 'ant/2.png', 'ant/3.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def build(folder, **options):
    return DATASETS.build(
        dict(type='LabeledFolder', data_root=str(folder), pipeline=[], **options)
    )


def records(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['img_path'], info['gt_label']) for info in infos]


def test_the_file_types_are_those_of_training(folder):
    dataset = build(folder)
    assert dataset.metainfo['classes'] == ('ant', 'bee')
    assert dataset.get_gt_labels().tolist() == [0, 0, 1]
    assert len(build(folder, extensions=['.png'])) == 1
    assert len(build(folder, with_label=False)) == 3


def test_hidden_folders_are_no_classes(folder):
    (folder / '.ipynb_checkpoints').mkdir()
    (folder / '.ipynb_checkpoints' / '2.png').touch()
    for options in (dict(), dict(classes=('ant', 'bee'))):
        dataset = build(folder, **options)
        assert dataset.metainfo['classes'] == ('ant', 'bee')
        assert dataset.folder_to_idx == dict(ant=0, bee=1)
        assert dataset.get_gt_labels().tolist() == [0, 0, 1]


def test_images_and_their_order_are_those_of_mmpretrain(folder, logged):
    # '-' comes before '/', but the folders' names are sorted, not the paths.
    for name in ('ant-2/a.png', 'ant/b/c.png', 'empty', 'ant/b.png'):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch() if '.' in name else (folder / name).mkdir()
    (folder / 'bee' / 'linked').symlink_to(folder / 'ant-2')
    theirs = CustomDataset(str(folder), extensions=['.png', '.webp', '.tiff'])
    logged.clear()
    mine = build(folder)
    assert records(mine) == records(theirs) and len(mine) == 7
    assert mine.metainfo['classes'] == theirs.metainfo['classes']
    assert 'no image in the folders empty of' in logged[0] and len(logged) == 1


def test_loops_of_links_are_left_out(folder, logged):
    """A link to the parent folder brought the images of all classes into one."""
    wanted = records(build(folder))
    (folder / 'ant' / 'up').symlink_to(folder)
    (folder / 'bee' / 'x' / 'self').symlink_to(folder / 'bee')
    (folder / 'bee' / 'above').symlink_to(folder.parent)
    (folder / 'no_class').symlink_to(folder)
    dataset = build(folder)
    assert records(dataset) == wanted
    assert dataset.metainfo['classes'] == ('ant', 'bee')
    (line,) = logged
    assert 'LabeledFolder left out 4 entries' in line and '(a link back to' in line


def test_images_in_no_folder_are_named(folder, logged):
    (folder / 'top.png').touch()
    assert len(build(folder)) == 3
    assert 'left out 1 images' in logged[0] and 'no folder of a class' in logged[0]


def test_folders_that_do_not_fit_are_refused(folder):
    with pytest.raises(ValueError, match='has 3 classes, but .* has 2 folders'):
        build(folder, classes=('ant', 'bee', 'cow'))
    for options in (dict(), dict(with_label=False)):
        with pytest.raises(ValueError, match=r'no image in .*looking for \.gif'):
            build(folder, extensions=['.gif'], **options)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        build(folder / 'nowhere')


# ---------------------------------------------------------------------------- lists


def listed(folder, text, encoding='utf-8', **options):
    (folder / 'list.txt').write_bytes(text.encode(encoding))
    return build(folder, ann_file='list.txt', **options)


def test_lists_have_their_labels(folder):
    dataset = listed(folder, 'ant/2.png 1\nbee/x/1.WEBP 0\n')
    assert dataset.get_gt_labels().tolist() == [1, 0]
    dataset = listed(folder, 'ant/2.png\n\nbee/x/1.WEBP\n', with_label=False)
    assert len(dataset) == 2 and 'gt_label' not in dataset.get_data_info(0)


@pytest.mark.parametrize(
    'text',
    [
        'a b.png 3\n\n  \nc.png 1\n\n',
        '\ufeffa b.png 3\r\nc.png 1\r\n',
        'a b.png\t3\nc.png  1 ',
    ],
)
def test_harmless_lists(folder, text):
    paths = [str(folder / 'a b.png'), str(folder / 'c.png')]
    assert records(listed(folder, text)) == list(zip(paths, (3, 1)))


@pytest.mark.parametrize(
    'line',
    ['a.png', '7', 'a.png,1', 'a b.png,1', 'a.png cat', 'a.png 1.5']
    + ['a.png -1', 'a.png -100', 'a.png 1' + '0' * 30, 'a.png 1\x00'],
)
def test_malformed_lines_are_named(folder, line):
    with pytest.raises(ValueError, match="list.txt, line 3 must be 'path label'") as e:
        listed(folder, f'c.png 0\n\n{line}\nd.png 0\n')
    assert repr(line) in str(e.value)


def test_labels_of_no_class_are_named(folder, tmp_path):
    text = 'c.png 1\na.png 2\n'
    assert len(listed(folder, text)) == 2
    with pytest.raises(ValueError, match='list.txt, line 2: the label 2 of a.png is'):
        listed(folder, text, classes=('ant', 'bee'))
    # One vote for each class of each image
    with pytest.raises(ValueError, match='line 1: the label 4000000000 .* 0 to 1048'):
        listed(folder, 'c.png 4000000000\n')


def test_lists_of_imagenet(tmp_path):
    root = made_up_data.imagenet(tmp_path / 'imagenet')
    path = root / 'meta' / 'few.txt'
    path.write_text('n0001/1.JPEG 999\n\n')
    cfg = dict(type='ListedImageNet', data_root=str(root), split='train')
    dataset = DATASETS.build(dict(cfg, ann_file='meta/few.txt'))
    assert records(dataset) == [(str(root / 'train/n0001/1.JPEG'), 999)]
    assert len(dataset.metainfo['classes']) == 1000
    assert len(DATASETS.build(cfg)) == 2
    path.write_text('n0001/1.JPEG 1000\n')
    with pytest.raises(ValueError, match='few.txt, line 1: .* labels are 0 to 999'):
        DATASETS.build(dict(cfg, ann_file='meta/few.txt'))


@pytest.mark.parametrize('name', ['bär.png'.encode('latin-1'), 'bär.png'.encode()])
def test_names_of_lists_are_those_of_the_folder(folder, name):
    with open(os.path.join(os.fsencode(folder), name), 'wb'):
        pass
    (folder / 'list.txt').write_bytes(name + b' 1\n')
    assert records(build(folder, ann_file='list.txt'))[0][1] == 1


@pytest.mark.parametrize(
    ('encoding', 'message'),
    [
        ('latin-1', r'line 2: there is no image .*b\\udce4r.png: save the list as UTF'),
        ('utf-16', "line 1 must be 'path label'"),
    ],
)
def test_lists_in_another_encoding_are_refused(folder, encoding, message):
    (folder / 'bär.png').touch()
    with pytest.raises(ValueError, match=f'list.txt, {message}') as error:
        listed(folder, 'ant/2.png 0\nbär.png 1\n', encoding)
    assert str(error.value).encode()


def test_empty_lists_are_refused(folder):
    with pytest.raises(ValueError, match='The list .*list.txt is empty'):
        listed(folder, '\n')
