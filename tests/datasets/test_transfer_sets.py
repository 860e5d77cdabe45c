"""Every data set of the transfer evaluation, read in the layout of the real one."""

import pickle
import sys

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import DATASETS
from PIL import Image
from support import made_up_transfer
from support.paths import CONFIGS

from esvit_plugin import get_model
from esvit_plugin.datasets import (
    FER2013,
    GTSRB,
    STL10,
    ArrayToBGR,
    HatefulMemes,
    PatchCamelyon,
    UCF101Frames,
    held_out,
)
from esvit_plugin.engine.configs import load_config

NAMES = sorted(made_up_transfer.MAKERS)
METRICS = dict(
    fgvc_aircraft='mean_per_class',
    oxford_pets='mean_per_class',
    caltech101='mean_per_class',
    flowers102='mean_per_class',
    voc2007='map11',
    hateful_memes='roc_auc',
)
# Images in train, val and test of the made-up sets, where they are not 6, 2 and 4.
SIZES = dict(
    cifar10=(8, 2, 2),
    cifar100=(6, 2, 2),
    fgvc_aircraft=(4, 4, 4),
    voc2007=(20, 20, 20),
    dtd=(4, 4, 4),
    flowers102=(4, 4, 4),
    fer2013=(4, 4, 4),
    gtsrb=(4, 4, 4),
    patch_camelyon=(4, 4, 4),
    ucf101=(4, 4, 4),
)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    made_up_transfer.stand_in(monkeypatch)


def test_every_config_has_made_up_data():
    assert [p.stem for p in sorted((CONFIGS / 'transfer').glob('*.py'))] == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_configs_read_the_layouts(tmp_path, name):
    made_up_transfer.MAKERS[name](tmp_path)
    path = CONFIGS / 'transfer' / f'{name}.py'
    cfg = load_config(str(path), dict(data_root=str(tmp_path)))
    assert cfg.metric == METRICS.get(name, 'accuracy')
    assert Config.fromfile(path).data_root.startswith('data/')
    splits = [DATASETS.build(cfg[split]) for split in ('train', 'val', 'test')]
    assert tuple(map(len, splits)) == SIZES.get(name, (6, 2, 4))
    for dataset in splits:
        classes = dataset.metainfo.get('classes')
        assert classes is None or len(classes) == cfg.num_classes
        for i in range(len(dataset)):
            item = dataset[i]
            assert item['inputs'].shape == (3, 224, 224)
            assert (item['data_samples'].gt_label < cfg.num_classes).all()
        labels = {int(k) for i in range(len(dataset)) for k in dataset.get_cat_ids(i)}
        assert len(labels) == (20 if name == 'voc2007' else 2)
    if name not in ('gtsrb', 'stl10'):
        # MNIST's class goes by test_mode, for example, not by split.
        first = [dataset.get_data_info(0) for dataset in splits]
        keys = {str(info.get('img_path', info.get('img'))) for info in first}
        assert len(keys) == 3


def build(name, root, **kwargs):
    made_up_transfer.MAKERS[name](root)
    types = dict(
        fer2013=FER2013,
        stl10=STL10,
        gtsrb=GTSRB,
        patch_camelyon=PatchCamelyon,
        ucf101=UCF101Frames,
        hateful_memes=HatefulMemes,
    )
    return types[name](data_root=str(root), **kwargs)


def test_voc_marks_difficult_objects(tmp_path):
    made_up_transfer.voc2007(tmp_path)
    dataset = DATASETS.build(dict(type='VOC', data_root=str(tmp_path), split='val'))
    first = dataset.get_data_info(0)
    assert (first['gt_label'], first['gt_label_difficult']) == ([0], [1])


def test_fer2013_reads_pixels_row_by_row(tmp_path):
    dataset = build('fer2013', tmp_path, split='val')
    lines = (tmp_path / 'fer2013.csv').read_text().splitlines()
    label, pixels, _ = lines[5].split(',')
    record = dataset.get_data_info(0)
    assert record['gt_label'] == int(label) == 0
    assert record['img'].ravel().tolist() == [int(p) for p in pixels.split()]


def test_stl10_is_stored_column_by_column(tmp_path):
    record = build('stl10', tmp_path).get_data_info(1)
    assert record['gt_label'] == 9
    img = record['img']
    assert (img[:, 0] == 255).all()
    # RGB: the red channel was made brighter by one.
    assert (img[:, 1:] == [11, 10, 10]).all()


def test_patch_camelyon_is_read_when_asked(tmp_path):
    dataset = build('patch_camelyon', tmp_path, split='valid')
    first = dataset.get_data_info(1)
    assert first['img'].shape == (96, 96, 3)
    assert first['gt_label'] == 1
    copy = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copy.get_data_info(1)['img'], first['img'])


def test_gtsrb_knows_tracks_and_both_places_of_the_list(tmp_path):
    train = build('gtsrb', tmp_path)
    assert train.get_gt_labels().tolist() == [0] * 4 + [42] * 4
    assert [train.get_data_info(i)['group'] for i in (0, 1, 2)] == [
        '00000',
        '00000',
        '00001',
    ]
    folder = tmp_path / 'Final_Test' / 'Images'
    (tmp_path / 'GT-final_test.csv').rename(folder / 'GT-final_test.csv')
    test = GTSRB(str(tmp_path), split='test')
    assert test.get_gt_labels().tolist() == [0, 42, 0, 42]


def test_ucf101_takes_the_middle_frame(tmp_path):
    dataset = build('ucf101', tmp_path)
    records = [dataset.get_data_info(i) for i in range(2)]
    assert records[0]['img_path'].endswith('/v_ApplyEyeMakeup_g08_c01.jpg')
    assert records[1]['img_path'].endswith('/v_ApplyEyeMakeup_g08_c02/0001.jpg')
    assert {record['group'] for record in records} == {'v_ApplyEyeMakeup_g08'}


@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_arrays_become_bgr(shape):
    img = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    found = ArrayToBGR()(dict(img=img))
    if img.shape[-1] == 3:
        expected = cv2.cvtColor(img, cv2.COLOR_RGB2BGR)
    else:
        expected = cv2.cvtColor(img.reshape(4, 6), cv2.COLOR_GRAY2BGR)
    assert np.array_equal(found['img'], expected)
    assert found['img_shape'] == found['ori_shape'] == (4, 6)
    with pytest.raises(ValueError, match=r'got \(4, 6, 2\)'):
        ArrayToBGR()(dict(img=np.zeros((4, 6, 2), np.uint8)))


def test_an_inferencer_sees_the_colours_of_the_file(tmp_path):
    """It reads BGR before the pipeline, of which it takes out mmcv's step alone."""
    path = str(tmp_path / 'red.png')
    Image.new('RGB', (8, 8), (255, 0, 0)).save(path)
    model = get_model(
        dict(
            type='ImageClassifier',
            backbone=dict(type='LeNet5', num_classes=2),
            head=dict(type='ClsHead'),
        )
    )
    pipeline = [dict(type='ArrayToBGR'), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', pipeline=pipeline)
    model._config = Config(dict(test_dataloader=dict(dataset=dataset)))
    (batch,) = ImageClassificationInferencer(model).preprocess([path])
    assert batch['inputs'][0, :, 0, 0].tolist() == [0, 0, 255]
    # The same picture of a data set, which has RGB.
    record = dict(img=np.array(Image.open(path)), gt_label=0, sample_idx=0)
    assert ArrayToBGR()(record)['img'][0, 0].tolist() == [0, 0, 255]


def memes(tmp_path, labels):
    lines = [f'{{"img": "img/{i}.png", "label": {k}}}' for i, k in enumerate(labels)]
    (tmp_path / 'train.jsonl').write_text('\n'.join(lines))
    return dict(type='HatefulMemes', data_root=str(tmp_path))


def paths(dataset):
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


def test_the_same_tenth_of_each_class_is_held_out(tmp_path):
    cfg = memes(tmp_path, [0] * 60 + [1] * 20)
    train, val = (held_out(cfg, part) for part in ('train', 'val'))
    assert np.bincount(val.get_gt_labels()).tolist() == [6, 2]
    assert np.bincount(train.get_gt_labels()).tolist() == [54, 18]
    assert sorted(paths(train) + paths(val)) == sorted(paths(HatefulMemes(tmp_path)))
    assert paths(held_out(cfg, 'val')) == paths(val)
    assert paths(held_out(cfg, 'val', seed=1)) != paths(val)
    assert len(held_out(cfg, 'val', fraction=0.5)) == 40


def test_a_class_of_one_image_stays_in_train(tmp_path):
    cfg = memes(tmp_path, [0] * 4 + [1])
    assert set(held_out(cfg, 'val', fraction=0.9).get_gt_labels()) == {0}
    assert held_out(cfg, 'train', fraction=0.9).get_gt_labels().tolist() == [0, 1]
    with pytest.raises(ValueError, match='no class of HatefulMemes has two images'):
        held_out(memes(tmp_path, [0, 1]), 'val')
    with pytest.raises(ValueError, match='between 0 and 1, got 1'):
        held_out(cfg, 'val', fraction=1)
    with pytest.raises(ValueError, match="one of train, val, got 'test'"):
        held_out(cfg, 'test')


@pytest.mark.parametrize('name', ['gtsrb', 'ucf101'])
def test_groups_are_not_torn_apart(tmp_path, name):
    dataset = build(name, tmp_path)
    parts = [
        {(r['gt_label'], r['group']) for r in map(part.get_data_info, range(len(part)))}
        for part in (
            held_out(DATASETS.build(dict(type=type(dataset), data_root=tmp_path)), p)
            for p in ('train', 'val')
        )
    ]
    assert [len(part) for part in parts] == [2, 2]
    assert not parts[0] & parts[1]


@pytest.mark.parametrize(
    ('name', 'file', 'text', 'message'),
    [
        ('fer2013', 'fer2013.csv', 'a,b\n1,2\n', r'no column emotion in line 1'),
        ('fer2013', 'fer2013.csv', 'emotion,pixels,Usage\n1,2 3,Training\n', 'line 2'),
        ('fer2013', 'fer2013.csv', 'emotion,pixels,Usage\n', 'no row of the Usage'),
        ('stl10', 'train_y.bin', '\x01', r'does not fit the 1 labels \(1 to 10\)'),
        (
            'gtsrb',
            'Final_Training/Images/00042/GT-00042.csv',
            'Filename;ClassId\na.ppm;x\n',
            r"00042.csv, line 2 needs .* got 'a.ppm' and 'x'",
        ),
        (
            'ucf101',
            'ucfTrainTestlist/trainlist01.txt',
            'Sleep/v_Sleep_g01_c01.avi 1\n',
            r"trainlist01.txt, line 1 must be 'class/video.avi'",
        ),
        ('ucf101', 'ucfTrainTestlist/classInd.txt', 'Sleep\n', "'number class'"),
        ('ucf101', 'ucfTrainTestlist/classInd.txt', '\n', 'classInd.txt is empty'),
        ('hateful_memes', 'train.jsonl', '{"img": "a"}\n', r"line 1 must be .*'label'"),
        ('hateful_memes', 'train.jsonl', '{"img": 1, "label": 1}', r'line 1 must be'),
        ('hateful_memes', 'train.jsonl', '\n', 'train.jsonl is empty'),
    ],
)
def test_malformed_files_are_named(tmp_path, name, file, text, message):
    made_up_transfer.MAKERS[name](tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        build_again(name, tmp_path)


LISTS = [
    ('fer2013', 'fer2013.csv'),
    ('gtsrb', 'Final_Training/Images/00042/GT-00042.csv'),
    ('ucf101', 'ucfTrainTestlist/classInd.txt'),
    ('ucf101', 'ucfTrainTestlist/trainlist01.txt'),
    ('hateful_memes', 'train.jsonl'),
]


@pytest.mark.parametrize(('name', 'file'), LISTS)
def test_encodings_of_lists(tmp_path, name, file):
    """A byte order mark is left out, and what is no UTF-8 has its line named."""
    made_up_transfer.MAKERS[name](tmp_path)
    expected = build_again(name, tmp_path).get_gt_labels().tolist()
    path = tmp_path / file
    content = path.read_bytes()
    path.write_bytes(b'\xef\xbb\xbf' + content)
    assert build_again(name, tmp_path).get_gt_labels().tolist() == expected
    path.write_bytes(content + 'bär\n'.encode('latin-1'))
    with pytest.raises(ValueError, match=f'{path.name}.* line [0-9]+.*(UTF-8|utf-8)'):
        build_again(name, tmp_path)


@pytest.mark.parametrize(('name', 'file'), LISTS[:2])
def test_fields_without_end_are_named(tmp_path, name, file):
    made_up_transfer.MAKERS[name](tmp_path)
    with open(tmp_path / file, 'a') as out:
        out.write('x' * 200_000 + '\n')
    with pytest.raises(ValueError, match='csv is no CSV near line [0-9]+: field larg'):
        build_again(name, tmp_path)


def build_again(name, root):
    cfg = load_config(str(CONFIGS / 'transfer' / f'{name}.py'))
    whole = cfg.train.get('dataset', cfg.train)
    return DATASETS.build({**whole, 'data_root': str(root)})


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('fer2013', 'fer2013.csv'),
        ('stl10', 'train_X.bin'),
        ('gtsrb', 'Final_Training/Images/00000/GT-00000.csv'),
        ('patch_camelyon', 'camelyonpatch_level_2_split_train_y.h5'),
        ('ucf101', 'ucfTrainTestlist/classInd.txt'),
        ('ucf101', 'frames/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.jpg'),
        ('hateful_memes', 'train.jsonl'),
    ],
)
def test_missing_files_are_named(tmp_path, name, file):
    made_up_transfer.MAKERS[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file.rsplit('/', 1)[-1]):
        build_again(name, tmp_path)


def test_other_mistakes_are_named(tmp_path, monkeypatch):
    for name, split in (('stl10', 'val'), ('fer2013', 'dev'), ('gtsrb', 'val')):
        with pytest.raises(ValueError, match=f"split must be .* got '{split}'"):
            build(name, tmp_path / name, split=split)
    with pytest.raises(ValueError, match='fold must be 1, 2 or 3, got 4'):
        build('ucf101', tmp_path / 'ucf101', fold=4)
    made_up_transfer.patch_camelyon(tmp_path)
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ImportError, match='pip install h5py'):
        PatchCamelyon(str(tmp_path))
