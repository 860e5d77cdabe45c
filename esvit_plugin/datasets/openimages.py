"""Open Images for pre-training."""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from .array_dataset import ArrayDataset, PackedStrings, existing_folder, paths_in
from .folder import REMEDY
from .openimages_files import TOOL, find_selected
from .paths import inside, may_leave, printable
from .text_files import read_columns

SPLITS = ('train', 'validation', 'test')
# The lists of images that Open Images comes with, in the order of preference.
LISTS = (
    '{split}-images-boxable-with-rotation.csv',
    '{split}-images-with-labels-with-rotation.csv',
    '{split}-images-with-rotation.csv',
    'image_ids_and_rotation.csv',
)
NUM_LOOKED_UP = 20


def _read_ids(path: str, split: str, folder: str) -> Iterator[str]:
    """Yield the image ids of a split, in the order of a CSV list."""
    hint = 'pass a list of images of Open Images as ann_file'
    for line, row in read_columns(path, ['ImageID'], 'Subset', hint):
        if len(row) == 1 or row[1] == split:
            image = row[0]
            if may_leave(image):
                inside(folder, image, f'{printable(path)}, line {line}')
            yield image


@DATASETS.register_module()
class OpenImages(ArrayDataset):
    """The images of Open Images (v4), without labels, for pre-training.

    A list such as ``image_ids_and_rotation.csv`` (9 million images) or
    ``train-images-boxable-with-rotation.csv`` (1.7 million) names them; they lie at
    ``{data_root}/{split}/{ImageID}.jpg``. The list is read row by row and takes 24
    bytes of memory per image. Its rotations are not applied.

    A selection leaves only some images, such as the balanced one that
    ``esvit openimages-selection`` makes: those with a class of at
    least 1000 images. Ids that the list does not name are refused.

    Each record has ``img_path``, for ``LoadImage``; with ``on_error='skip'`` images
    that were not downloaded are left out while training.

    Args:
        data_root: The folder; ``~`` is expanded.
        split: 'train' (default), 'validation' or 'test'. Where the list has a column
            ``Subset``, rows of other splits are left out.
        ann_file: The list, or several, below ``data_root``. By default the first that
            exists of the boxable images of the split, those with labels, all of the
            split, and all.
        data_prefix: The folder of the images below ``data_root``. Defaults to the
            split.
        selection: A text file below ``data_root`` with one ImageID per line, in any
            order. Only these images are used, in the order of the lists. Defaults to
            '', all images.
        **kwargs: Others of mmpretrain's ``BaseDataset``: ``pipeline``, ``indices``,
            ``max_refetch``, ``lazy_init``...

    Raises:
        ValueError: If ``data_root`` is empty, ``split`` is none of the three, a list
            is malformed or leads out of the folder (with the line), or names no image
            of the split; if the selection is empty, or names an image twice or one
            that the lists do not name (with their number and the first).
        TypeError: If ``data_root`` or ``selection`` is no path.
        FileNotFoundError: If the folder, a list, the selection or the images do not
            exist.
        NotADirectoryError: If ``data_root`` is a file.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | None = '',
        split: str = 'train',
        ann_file: str | Sequence[str] = '',
        data_prefix: str = '',
        selection: str | os.PathLike = '',
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(
                f"OpenImages's split must be one of {', '.join(SPLITS)}, got {split!r}"
            )
        root = existing_folder('OpenImages', data_root)
        self.split = split
        self.lists = self._find_lists(root, ann_file)
        self.selection = self._find_selection(root, selection)
        self.folder = os.path.join(root, data_prefix or split)
        if not os.path.isdir(self.folder):
            raise FileNotFoundError(
                f"OpenImages's folder of images {printable(self.folder)} does not "
                f'exist: {REMEDY}'
                ', or name the folder in data_prefix'
            )
        super().__init__(ann_file='', data_root=root, data_prefix='', **kwargs)

    def _find_lists(self, root: str, ann_file: str | Sequence[str]) -> list[str]:
        """Return the paths of the lists after checking that they exist."""
        if ann_file:
            names = [ann_file] if isinstance(ann_file, str) else list(ann_file)
            paths = [os.path.join(root, os.path.expanduser(name)) for name in names]
            missing = [path for path in paths if not os.path.isfile(path)]
        else:
            known = [
                os.path.join(root, name.format(split=self.split)) for name in LISTS
            ]
            paths = [path for path in known if os.path.isfile(path)][:1]
            missing = [] if paths else known
        if missing:
            raise FileNotFoundError(
                'OpenImages found no list of images '
                f'{printable(" or ".join(missing))}: {REMEDY}, or name the list in '
                'ann_file'
            )
        return paths

    def _find_selection(self, root: str, selection: str | os.PathLike) -> str:
        """Return the path of the selection, which must exist; '' if none."""
        if not isinstance(selection, str | os.PathLike):
            raise TypeError(
                "OpenImages's selection must be the path of a text file, or '' for all "
                f'images, got {selection!r}'
            )
        if not os.fspath(selection):
            return ''
        path = paths_in(root, selection)[0]
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"OpenImages's selection {printable(path)} does not exist: make it "
                f'with {TOOL} LABELS.csv -o {printable(path)}, or pass '
                "selection='' for all images"
            )
        return path

    def load_rows(self) -> int:
        """Read the lists, and return the number of images."""
        self.ids = PackedStrings(
            image
            for path in self.lists
            for image in _read_ids(path, self.split, self.folder)
        )
        source = printable(', '.join(self.lists))
        if not len(self.ids):
            raise ValueError(
                f'{source} names no image of the split {self.split!r}: pass another '
                'split or ann_file'
            )
        number = str(len(self.ids))
        if self.selection:
            kept = find_selected(self.selection, self.ids, source)
            self.ids = self.ids.select(kept)
            number = f'{len(self.ids)} of {number}'
        # Some may be missing, but not all: then the folder is the wrong one.
        sample = np.linspace(0, len(self.ids) - 1, NUM_LOOKED_UP, dtype=int).tolist()
        if not any(os.path.isfile(self._path(row)) for row in sample):
            raise FileNotFoundError(
                f'None of {NUM_LOOKED_UP} images of {source} exists, such as '
                f'{printable(self._path(0))}: {REMEDY}, or name their folder in '
                'data_prefix'
            )
        message = f'OpenImages: {number} images of {source}'
        if self.selection:
            message += f', those of {printable(self.selection)}'
        print_log(message, 'current', logging.INFO)
        return len(self.ids)

    def _path(self, row: int) -> str:
        return os.path.join(self.folder, f'{self.ids[row]}.jpg')

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the record of one row, its ``img_path``."""
        return dict(img_path=self._path(row))
