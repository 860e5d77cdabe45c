"""WebVision, images of web searches with the classes of ImageNet-1K."""

import glob
import os
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from .array_dataset import ArrayDataset, PackedStrings, existing_folder
from .folder import REMEDY
from .paths import inside, may_leave, printable

LISTS = 'info/train_filelist_{source}.txt'
VAL_LIST = 'info/val_filelist.txt'
# The validation images come in their full size or with a shorter side of 256.
VAL_FOLDERS = ('val_images_256', 'val_images')


def _read_list(path: str, folder: str) -> Iterator[tuple[str, int]]:
    """Yield the path below the folder and the label of each line of a list."""
    list_name = printable(path)
    with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            name, _, label = line.strip().rpartition(' ')
            if not name.strip() or not label.isdecimal():
                raise ValueError(
                    f"{list_name}, line {number} must be 'path label' with an integer "
                    f'label, got {line.strip()[:80]!r}: download the list again'
                )
            if may_leave(name):
                inside(folder, name.strip(), f'{list_name}, line {number}')
            yield name.strip(), int(label)


@DATASETS.register_module()
class WebVision(ArrayDataset):
    """WebVision 1.0: 2.4 million images found by queries for 1000 classes.

    It is laid out as it is distributed, with full or resized images::

        webvision
        ├── info
        │   ├── train_filelist_google.txt    (lines 'google/q0001/name.jpg 0')
        │   ├── train_filelist_flickr.txt    (lines 'flickr/q0001/name.jpg 0')
        │   └── val_filelist.txt             (lines 'val000001.jpg 0')
        ├── google
        ├── flickr
        └── val_images_256 (or val_images)

    Each record has ``img_path``, for ``LoadImage``, and ``gt_label``.

    Args:
        data_root: The folder; ``~`` is expanded.
        split: 'train' (default) or 'val'.
        sources: The searches of the training images, each with its list. Defaults to
            ('google', 'flickr').
        with_label: Whether records have labels. Defaults to True.
        data_prefix: The folder below ``data_root`` that the paths of the lists start
            from. Defaults to '' for 'train', and for 'val' to ``val_images_256`` or
            else ``val_images``.
        **kwargs: Others of mmpretrain's ``BaseDataset``: ``pipeline``, ``indices``,
            ``max_refetch``, ``lazy_init``...

    Raises:
        ValueError: If ``data_root`` is empty, ``split`` is neither, ``sources`` is
            empty, or a list is malformed or leads out of the folder (with the line) or
            names no image.
        TypeError: If ``data_root`` is no path.
        FileNotFoundError: If the folder, a list, the folder of the validation images
            or the first image of a list does not exist.
        NotADirectoryError: If ``data_root`` is a file.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | None = '',
        split: str = 'train',
        sources: Sequence[str] = ('google', 'flickr'),
        with_label: bool = True,
        data_prefix: str = '',
        **kwargs: Any,
    ) -> None:
        if split not in ('train', 'val'):
            raise ValueError(
                f"WebVision's split must be 'train' or 'val', got {split!r}"
            )
        self.sources = (sources,) if isinstance(sources, str) else tuple(sources)
        if not self.sources:
            raise ValueError(
                "WebVision's sources are empty: pass for example ('google', 'flickr')"
            )
        root = existing_folder('WebVision', data_root)
        self.split = split
        self.with_label = with_label
        self.lists = self._find_lists(root)
        self.folder = self._find_folder(root, data_prefix)
        super().__init__(ann_file='', data_root=root, data_prefix='', **kwargs)

    def _find_lists(self, root: str) -> list[str]:
        """Return the paths of the lists after checking that they exist."""
        names = [VAL_LIST]
        if self.split == 'train':
            names = [LISTS.format(source=source) for source in self.sources]
        paths = [os.path.join(root, name) for name in names]
        for path in paths:
            if not os.path.isfile(path):
                pattern = os.path.join(glob.escape(root), LISTS.format(source='*'))
                lists = [os.path.basename(name) for name in sorted(glob.glob(pattern))]
                raise FileNotFoundError(
                    f"WebVision's list {printable(path)} does not exist (there are "
                    f'{printable(", ".join(lists)) or "no lists of training images"}): '
                    f'{REMEDY}, or choose other sources'
                )
        return paths

    def _find_folder(self, root: str, data_prefix: str) -> str:
        """Return the folder that the paths of the lists start from."""
        names = [data_prefix]
        if self.split == 'val' and not data_prefix:
            names = list(VAL_FOLDERS)
        for name in names:
            if os.path.isdir(os.path.join(root, name)):
                return os.path.join(root, name)
        raise FileNotFoundError(
            f'WebVision found no folder of images {" or ".join(names)} in '
            f'{printable(root)}: '
            f'{REMEDY}, or name the folder in data_prefix'
        )

    def load_rows(self) -> int:
        """Read the lists, and return the number of images."""
        labels = array('l')

        def paths() -> Iterator[str]:
            for file in self.lists:
                start = len(labels)
                for name, label in _read_list(file, self.folder):
                    if len(labels) == start:
                        self._check_first(file, name)
                    labels.append(label)
                    yield name
                if len(labels) == start:
                    raise ValueError(
                        f'{printable(file)} names no image: download the list again, '
                        'or leave its source out of sources'
                    )

        self.paths = PackedStrings(paths())
        self.labels = np.array(labels, np.int32) if self.with_label else None
        return len(self.paths)

    def _check_first(self, file: str, name: str) -> None:
        path = os.path.join(self.folder, name)
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f'The first image of {printable(file)} does not exist: '
                f'{printable(path)}. Unpack the '
                f'images, or {REMEDY}, or name their folder in data_prefix.'
            )

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the record of one row, its ``img_path`` and ``gt_label``."""
        record: dict[str, Any] = dict(
            img_path=os.path.join(self.folder, self.paths[row])
        )
        if self.with_label:
            record['gt_label'] = self.gt_label(row)
        return record
