"""Parts of data sets for the transfer evaluation, and sets that come as arrays."""

import os
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import DATASETS, TRANSFORMS

from .array_dataset import ArrayDataset
from .paths import printable
from .text_files import read_columns

FER2013_USAGES = dict(train='Training', val='PublicTest', test='PrivateTest')
FER2013_SIZE = 48
STL10_SIZE = 96


def transfer_path(owner: str, data_root: str, *names: str, download: str) -> str:
    """Return a path below a data set's folder, after checking that it is there.

    Args:
        owner: The data set that asks, for the message.
        data_root: Its folder; ``~`` is expanded.
        *names: The parts of the path below it.
        download: What to fetch where it is missing.

    Raises:
        FileNotFoundError: If there is no such file or folder.
    """
    path = os.path.join(os.path.expanduser(data_root), *names)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f'{owner} needs {printable(path)}, which does not exist: put {download} '
            'there, or name another data_root'
        )
    return path


def check_split(owner: str, split: str, splits: Any) -> str:
    """Return the split if the data set has it.

    Raises:
        ValueError: If not.
    """
    if split not in splits:
        raise ValueError(
            f"{owner}'s split must be one of {', '.join(splits)}, got {split!r}"
        )
    return split


def hdf5_array(file: Any, name: str, path: str) -> Any:
    """Return an array of an open HDF5 file, which must hold it itself.

    Arrays may also be links to other HDF5 files, or parts of any other file by its
    name: what a data set brings along must not reach them.

    Args:
        file: The open file.
        name: The array.
        path: The file, for the message.

    Raises:
        ValueError: If there is no such array, or it lies in other files.
    """
    array = file.get(name)
    if array is None or not hasattr(array, 'shape'):
        raise ValueError(
            f'{printable(path)} has no array {name!r}: fetch the file again'
        )
    elsewhere = getattr(array, 'file', file) != file
    if elsewhere or getattr(array, 'external', ()) or getattr(array, 'is_virtual', 0):
        raise ValueError(
            f'The array {name!r} of {printable(path)} lies in other files, which is '
            'not allowed: fetch the original file again'
        )
    return array


@DATASETS.register_module(name='HeldOut')
def held_out(
    dataset: Any, part: str, fraction: float = 0.1, seed: int = 0, **kwargs: Any
) -> Any:
    """Split a labelled data set without a validation split in two, by class.

    Of each class the same share of images is drawn. Records with a ``group``, such as
    the frames of one film, stay together: images that are nearly the same on both
    sides would make any regularisation look good. A class of one image or group stays
    in 'train'.

    Args:
        dataset: The data set or its config.
        part: 'train', or 'val' for what is held out.
        fraction: Share that is held out, at least one image or group per class.
            Defaults to 0.1.
        seed: Seed of the draw. Defaults to 0.
        **kwargs: More settings of the data set, where ``dataset`` is a config.

    Returns:
        The data set with the images of that part, in their order.

    Raises:
        ValueError: If ``part`` is none of the two, the fraction is not between 0 and
            1, or nothing is left to hold out.
    """
    check_split('HeldOut', part, ('train', 'val'))
    if not 0 < fraction < 1:
        raise ValueError(f'HeldOut: fraction must be between 0 and 1, got {fraction}')
    if isinstance(dataset, dict):
        dataset = DATASETS.build({**dataset, **kwargs})
    records = [dataset.get_data_info(i) for i in range(len(dataset))]
    classes: dict[int, dict[Any, list[int]]] = {}
    for i, record in enumerate(records):
        groups = classes.setdefault(int(record['gt_label']), {})
        groups.setdefault(record.get('group', i), []).append(i)
    rng = np.random.RandomState(seed)
    val: set[int] = set()
    for label in sorted(classes):
        groups = classes[label]
        order = rng.permutation(len(groups))
        number = max(1, round(fraction * len(groups))) if len(groups) > 1 else 0
        names = list(groups)
        # One stays, whatever the fraction.
        for j in order[: min(number, len(groups) - 1)]:
            val.update(groups[names[j]])
    if not val:
        raise ValueError(
            f'HeldOut: no class of {type(dataset).__name__} has two images or groups, '
            'so none can be held out for validation'
        )
    keep = [i for i in range(len(records)) if (i in val) == (part == 'val')]
    dataset.get_subset_(keep)
    return dataset


@TRANSFORMS.register_module()
class ArrayToBGR(BaseTransform):
    """Turn an image that a data set holds as an array into what loading a file gives.

    Required key: ``img``, uint8 of shape (H, W) or (H, W, 1), grey, or (H, W, 3), RGB.
    Modified key: ``img``, of shape (H, W, 3) in BGR. Added keys: ``img_shape`` and
    ``ori_shape``, (H, W). What an inferencer of mmpretrain has read is BGR already, and
    stays as it is.

    Raises:
        ValueError: If the image has another shape.
    """

    def transform(self, results: dict) -> dict:
        """Convert one record."""
        if 'img_shape' in results and not {'sample_idx', 'gt_label'} & set(results):
            # Of no data set: an inferencer takes out mmcv's step, but not this one.
            return results
        img = np.asarray(results['img'])
        if img.ndim == 2:
            img = img[..., None]
        if img.ndim != 3 or img.shape[2] not in (1, 3):
            raise ValueError(
                'ArrayToBGR needs an image (H, W), (H, W, 1) or (H, W, 3), got '
                f'{results["img"].shape} in record {results.get("sample_idx")}'
            )
        img = np.repeat(img, 3, axis=2) if img.shape[2] == 1 else img[..., ::-1]
        shape = img.shape[:2]
        return results | dict(
            img=np.ascontiguousarray(img), img_shape=shape, ori_shape=shape
        )


@DATASETS.register_module()
class FER2013(ArrayDataset):
    """Faces of seven expressions: 48 x 48 px, grey, in one CSV file.

    ``{data_root}/fer2013.csv`` has the columns ``emotion`` (0 to 6), ``pixels`` (2304
    numbers) and ``Usage``. Records have ``img``, for ``ArrayToBGR``, and ``gt_label``.

    Args:
        data_root: The folder.
        split: 'train' (default; Training), 'val' (PublicTest) or 'test' (PrivateTest).
        ann_file: The CSV below it. Defaults to 'fer2013.csv'.
        **kwargs: Others of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the split is unknown, or a row is malformed (with the line).
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        ann_file: str = 'fer2013.csv',
        **kwargs: Any,
    ) -> None:
        self.usage = FER2013_USAGES[check_split('FER2013', split, FER2013_USAGES)]
        self.path = transfer_path(
            'FER2013', data_root, ann_file, download="the challenge's fer2013.csv"
        )
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_rows(self) -> int:
        """Read the rows of the split."""
        images, labels = [], []
        rows = read_columns(
            self.path,
            ('emotion', 'pixels', 'Usage'),
            hint='put the original fer2013.csv there',
        )
        for line, (emotion, text, usage) in rows:
            if usage.strip() != self.usage:
                continue
            try:
                pixels = np.array(text.split(), np.uint8)
                images.append(pixels.reshape(FER2013_SIZE, FER2013_SIZE))
                labels.append(int(emotion))
            except (ValueError, OverflowError) as error:
                raise ValueError(
                    f'{printable(self.path)}, line {line}: {error}; a row needs an '
                    f'integer emotion and {FER2013_SIZE**2} pixels of 0 to 255'
                ) from error
        if not images:
            raise ValueError(
                f'{printable(self.path)} has no row of the Usage {self.usage}: put the '
                'original fer2013.csv there'
            )
        self.images, self.labels = np.stack(images), np.array(labels)
        return len(images)

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the image and label of one row."""
        return dict(img=self.images[row], gt_label=self.gt_label(row))


@DATASETS.register_module()
class STL10(ArrayDataset):
    """Ten classes of objects, 96 x 96 px, from the binary files.

    ``{data_root}/{split}_X.bin`` holds the images, column by column, ``{split}_y.bin``
    the labels from 1. Images are read when asked for. Records have ``img``, for
    ``ArrayToBGR``, and ``gt_label`` from 0.

    Args:
        data_root: The folder, ``stl10_binary`` of the archive.
        split: 'train' (default; all 5000, not one of the ten folds) or 'test'.
        **kwargs: Others of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the split is unknown, or a file is not as long as it should be.
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        check_split('STL10', split, ('train', 'test'))
        self.paths = [
            transfer_path(
                'STL10',
                data_root,
                f'{split}_{part}.bin',
                download='the content of stl10_binary.tar.gz',
            )
            for part in ('X', 'y')
        ]
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_rows(self) -> int:
        """Map the images and read the labels."""
        labels = np.fromfile(self.paths[1], np.uint8)
        shape = (len(labels), 3, STL10_SIZE, STL10_SIZE)
        size = os.path.getsize(self.paths[0])
        if not len(labels) or size != np.prod(shape) or not labels.all():
            raise ValueError(
                f'{printable(self.paths[0])} of {size} bytes does not fit the '
                f'{len(labels)} labels (1 to 10) of {printable(self.paths[1])}: unpack '
                'stl10_binary.tar.gz again'
            )
        self.images = np.memmap(self.paths[0], np.uint8, 'r', shape=shape)
        self.labels = labels.astype(np.int64) - 1
        return len(labels)

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the image and label of one row."""
        img = np.array(self.images[row].transpose(2, 1, 0))
        return dict(img=img, gt_label=self.gt_label(row))


@DATASETS.register_module()
class PatchCamelyon(ArrayDataset):
    """Tissue with a tumour in the centre or not, 96 x 96 px, from HDF5 files.

    ``{data_root}/camelyonpatch_level_2_split_{split}_x.h5`` holds the images ``x``
    (N, 96, 96, 3), the file ending in ``_y.h5`` the labels ``y``. Images are read when
    asked for. Records have ``img``, for ``ArrayToBGR``, and ``gt_label``.

    Args:
        data_root: The folder.
        split: 'train' (default), 'valid' or 'test'.
        **kwargs: Others of mmpretrain's ``BaseDataset``.

    Raises:
        ImportError: If h5py is missing.
        FileNotFoundError: If a file is missing.
        ValueError: If the split is unknown, the files do not fit each other, or one
            refers to other files.
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        check_split('PatchCamelyon', split, ('train', 'valid', 'test'))
        self.paths = [
            transfer_path(
                'PatchCamelyon',
                data_root,
                f'camelyonpatch_level_2_split_{split}_{part}.h5',
                download='the unpacked .h5 files of PatchCamelyon',
            )
            for part in ('x', 'y')
        ]
        try:
            import h5py  # noqa: F401
        except ImportError as error:
            raise ImportError(
                'PatchCamelyon is read with h5py: pip install h5py'
            ) from error
        self._pid, self._images = -1, None  # type: int, Any
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # An open file can neither be copied nor pickled.
        return self.__dict__ | dict(_pid=-1, _images=None)

    def load_rows(self) -> int:
        """Read the labels."""
        import h5py

        with h5py.File(self.paths[1], 'r') as file:
            labels = hdf5_array(file, 'y', self.paths[1])
            self.labels = np.array(labels).reshape(-1).astype(np.int64)
        with h5py.File(self.paths[0], 'r') as file:
            shape = hdf5_array(file, 'x', self.paths[0]).shape
        if len(shape) != 4 or shape[0] != len(self.labels):
            raise ValueError(
                f'{printable(self.paths[0])} of shape {shape} does not fit the '
                f'{len(self.labels)} labels of {printable(self.paths[1])}: fetch both '
                'again'
            )
        return len(self.labels)

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the image and label of one row."""
        import h5py

        # HDF5 handles do not survive a fork: each process opens its own.
        if self._pid != os.getpid():
            file = h5py.File(self.paths[0], 'r')
            self._images = hdf5_array(file, 'x', self.paths[0])
            self._pid = os.getpid()
        return dict(img=np.array(self._images[row]), gt_label=self.gt_label(row))
