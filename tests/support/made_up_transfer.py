"""Small data sets in the layouts of those of the transfer evaluation.

Each maker takes the set's folder and writes a few images of two classes; ``MAKERS`` has
them by the name of the config.
"""

import gc
import json
import pickle
import sys
from pathlib import Path

import mat4py
import mmpretrain.datasets.categories as categories
import numpy as np
from mmpretrain.datasets import CIFAR10, CIFAR100

from support.made_up_data import write_image

TRAIN, TEST = 4, 2  # images per class


def _text(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


def _mat(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mat4py.savemat(str(path), content)


def _images(root: Path, names) -> None:
    for seed, name in enumerate(names):
        write_image(root / name, seed)


def _numbered(classes, split, count):
    """Pairs (class, name) of a split."""
    return [(k, f'{split}{i}') for k in classes for i in range(count)]


def _parts(classes):
    """Pairs (split, pairs) of train and test."""
    return [
        ('train', _numbered(classes, 'train', TRAIN)),
        ('test', _numbered(classes, 'test', TEST)),
    ]


def food101(root: Path) -> None:
    for split, pairs in _parts(categories.FOOD101_CATEGORIES[:2]):
        _images(root / 'images', [f'{k}/{name}.jpg' for k, name in pairs])
        _text(root / 'meta' / f'{split}.txt', [f'{k}/{name}' for k, name in pairs])


def _pickle(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def _cifar(root: Path, files: dict, key: str) -> None:
    rng = np.random.RandomState(0)
    for name, labels in files.items():
        data = rng.randint(0, 256, (len(labels), 3072), np.uint8)
        _pickle(root / name, {'data': data, key: labels})


def cifar10(root: Path) -> None:
    files = {f'data_batch_{i}': [0, 1] for i in range(1, 6)}
    folder = root / 'cifar-10-batches-py'
    _cifar(folder, files | dict(test_batch=[0, 1]), 'labels')
    _pickle(folder / 'batches.meta', dict(label_names=['a', 'b']))


def cifar100(root: Path) -> None:
    folder = root / 'cifar-100-python'
    _cifar(folder, dict(train=[0, 1] * TRAIN, test=[0, 1]), 'fine_labels')
    _pickle(folder / 'meta', dict(fine_label_names=['a', 'b']))


def sun397(root: Path) -> None:
    names = ('a/abbey', 'a/airplane_cabin')
    for split, pairs in _parts(names):
        lines = [f'/{k}/sun_{name}.jpg' for k, name in pairs]
        _images(root / 'SUN397', [line[1:] for line in lines])
        title = dict(train='Training', test='Testing')[split]
        _text(root / 'Partitions' / f'{title}_01.txt', lines)


def stanford_cars(root: Path) -> None:
    lists = dict(train='cars_train_annos', test='cars_test_annos_withlabels')
    for split, pairs in _parts((1, 2)):
        names = [f'{k}_{name}.jpg' for k, name in pairs]
        _images(root / f'cars_{split}', names)
        content = {'fname': names, 'class': [k for k, _ in pairs]}
        _mat(root / 'devkit' / f'{lists[split]}.mat', dict(annotations=content))


def fgvc_aircraft(root: Path) -> None:
    names = ('707-320', 'BAE 146-200')
    for split in ('train', 'val', 'test'):
        pairs = _numbered(names, split, 2)
        lines = [f'{k[:3]}{name} {k}' for k, name in pairs]
        _images(root / 'data' / 'images', [line.split()[0] + '.jpg' for line in lines])
        _text(root / 'data' / f'images_variant_{split}.txt', lines)


def voc2007(root: Path) -> None:
    """Each image shows a class or two; one object is difficult."""
    number = 0
    for split in ('train', 'val', 'test'):
        ids = []
        for k, name in enumerate(categories.VOC2007_CATEGORIES):
            other = categories.VOC2007_CATEGORIES[(k + 1) % 20]
            number += 1
            ids.append(f'{number:06d}')
            xml = ''.join(
                f'<object><name>{n}</name><difficult>{d}</difficult></object>'
                for n, d in ((name, 0), (other, int(k == 0)))
            )
            _text(
                root / 'Annotations' / f'{ids[-1]}.xml',
                [f'<annotation>{xml}</annotation>'],
            )
        _images(root / 'JPEGImages', [f'{i}.jpg' for i in ids])
        _text(root / 'ImageSets' / 'Main' / f'{split}.txt', ids)


def dtd(root: Path) -> None:
    names, labels, sets = [], [], []
    for part in (1, 2, 3):
        for k, name in enumerate(('banded', 'blotchy'), 1):
            for i in range(2):
                names.append(f'{name}/{name}_{part}{i}.jpg')
                labels.append(k)
                sets.append(part)
    _images(root / 'images', names)
    content = {'name': names, 'class': labels, 'set': sets}
    _mat(root / 'imdb' / 'imdb.mat', dict(images=content))


def oxford_pets(root: Path) -> None:
    for split, pairs in _parts((1, 2)):
        names = [f'cat_{k}_{name}' for k, name in pairs]
        _images(root / 'images', [f'{name}.jpg' for name in names])
        lines = [f'{name} {k} 1 1' for name, (k, _) in zip(names, pairs)]
        title = dict(train='trainval', test='test')[split]
        _text(root / 'annotations' / f'{title}.txt', lines)


def caltech101(root: Path) -> None:
    for split, pairs in _parts((0, 1)):
        names = [f'{k}/{name}.jpg' for k, name in pairs]
        _images(root / '101_ObjectCategories', names)
        lines = [f'{name} {k}' for name, (k, _) in zip(names, pairs)]
        _text(root / 'meta' / f'{split}.txt', lines)


def flowers102(root: Path) -> None:
    _images(root / 'jpg', [f'image_{i:05d}.jpg' for i in range(1, 13)])
    _mat(root / 'imagelabels.mat', dict(labels=[1, 2] * 6))
    ids = dict(trnid=[1, 2, 3, 4], valid=[5, 6, 7, 8], tstid=[9, 10, 11, 12])
    _mat(root / 'setid.mat', ids)


def mnist(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(0)
    for split, count in (('train', 8), ('t10k', 4)):
        head = np.array([0x803, count, 28, 28], '>i4').tobytes()
        pixels = rng.randint(0, 256, (count, 28, 28), np.uint8).tobytes()
        (root / f'{split}-images-idx3-ubyte').write_bytes(head + pixels)
        labels = bytes([0, 1] * (count // 2))
        head = np.array([0x801, count], '>i4').tobytes()
        (root / f'{split}-labels-idx1-ubyte').write_bytes(head + labels)


def fer2013(root: Path) -> None:
    rng = np.random.RandomState(0)
    lines = ['emotion,pixels,Usage']
    for usage in ('Training', 'PublicTest', 'PrivateTest'):
        for k in (0, 6, 0, 6):
            pixels = ' '.join(map(str, rng.randint(0, 256, 48 * 48)))
            lines.append(f'{k},{pixels},{usage}')
    _text(root / 'fer2013.csv', lines)


def stl10(root: Path) -> None:
    """The brightness of an image is its label, its first column is white."""
    root.mkdir(parents=True, exist_ok=True)
    for split, count in (('train', 8), ('test', 4)):
        labels = np.array([1, 10] * (count // 2), np.uint8)
        images = np.repeat(labels, 3 * 96 * 96).reshape(count, 3, 96, 96)
        images[:, :, 0] = 255
        images[:, 0] += 1 - images[:, 0] // 255
        images.tofile(root / f'{split}_X.bin')
        labels.tofile(root / f'{split}_y.bin')


def gtsrb(root: Path) -> None:
    """Two tracks of two images per class."""
    header = 'Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId'
    for k in (0, 42):
        names = [f'{t:05d}_{i:05d}.ppm' for t in range(2) for i in range(2)]
        folder = root / 'Final_Training' / 'Images' / f'{k:05d}'
        _images(folder, names)
        lines = [f'{name};160;120;5;5;150;110;{k}' for name in names]
        _text(folder / f'GT-{k:05d}.csv', [header, *lines])
    names = [f'{i:05d}.ppm' for i in range(4)]
    _images(root / 'Final_Test' / 'Images', names)
    lines = [f'{n};160;120;5;5;150;110;{k}' for n, k in zip(names, (0, 42, 0, 42))]
    _text(root / 'GT-final_test.csv', [header, *lines])


class StandInH5:
    """The little of h5py that is needed, over .npz files, where h5py is missing."""

    class File(dict):
        def __init__(self, path, mode='r'):
            with np.load(path) as arrays:
                super().__init__(arrays)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass


def stand_in(monkeypatch) -> None:
    """Let made-up files pass for the real ones.

    mmpretrain compares the checksums of CIFAR's files; h5py may be missing.
    """
    # mmengine collects garbage whenever it loads a data set, 0.2 s each time.
    monkeypatch.setattr(gc, 'collect', lambda *_: 0)
    for cls in (CIFAR10, CIFAR100):
        for name in ('train_list', 'test_list'):
            files = [[file, None] for file, _ in getattr(cls, name)]
            monkeypatch.setattr(cls, name, files)
        monkeypatch.setattr(cls, 'meta', {**cls.meta, 'md5': None})
    try:
        import h5py  # noqa: F401
    except ImportError:
        monkeypatch.setitem(sys.modules, 'h5py', StandInH5)


def _h5(path: Path, key: str, array: np.ndarray) -> None:
    import h5py

    if h5py is StandInH5:
        with open(path, 'wb') as file:
            np.savez(file, **{key: array})
        return
    with h5py.File(path, 'w') as file:
        file[key] = array


def patch_camelyon(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(0)
    for split in ('train', 'valid', 'test'):
        stem = f'camelyonpatch_level_2_split_{split}'
        images = rng.randint(0, 256, (4, 96, 96, 3), np.uint8)
        _h5(root / f'{stem}_x.h5', 'x', images)
        labels = np.array([0, 1, 0, 1], np.uint8).reshape(4, 1, 1, 1)
        _h5(root / f'{stem}_y.h5', 'y', labels)


def ucf101(root: Path) -> None:
    """Two films of two clips per class; the last has a folder of frames."""
    lists = root / 'ucfTrainTestlist'
    actions = ('ApplyEyeMakeup', 'ApplyLipstick')
    _text(lists / 'classInd.txt', [f'{k} {a}' for k, a in enumerate(actions, 1)])
    for split, groups in (('train', (8, 9)), ('test', (1,))):
        lines = []
        for k, action in enumerate(actions, 1):
            for group in groups:
                for clip in (1, 2):
                    video = f'{action}/v_{action}_g{group:02d}_c{clip:02d}'
                    end = f' {k}' if split == 'train' else ''
                    lines.append(f'{video}.avi{end}')
                    path = root / 'frames' / video
                    if clip == 2:
                        _images(path, [f'{i:04d}.jpg' for i in range(3)])
                    else:
                        write_image(path.with_suffix('.jpg'), group)
        _text(lists / f'{split}list01.txt', lines)


def hateful_memes(root: Path) -> None:
    for split, count in (('train', 8), ('dev', 4)):
        memes = [
            dict(id=i, img=f'img/{split}{i}.png', label=i % 2, text='words')
            for i in range(count)
        ]
        _images(root, [meme['img'] for meme in memes])
        _text(root / f'{split}.jsonl', [json.dumps(meme) for meme in memes])


MAKERS = {
    'food101': food101,
    'cifar10': cifar10,
    'cifar100': cifar100,
    'sun397': sun397,
    'stanford_cars': stanford_cars,
    'fgvc_aircraft': fgvc_aircraft,
    'voc2007': voc2007,
    'dtd': dtd,
    'oxford_pets': oxford_pets,
    'caltech101': caltech101,
    'flowers102': flowers102,
    'mnist': mnist,
    'fer2013': fer2013,
    'stl10': stl10,
    'gtsrb': gtsrb,
    'patch_camelyon': patch_camelyon,
    'ucf101': ucf101,
    'hateful_memes': hateful_memes,
}
