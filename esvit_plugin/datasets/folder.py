"""A folder of images without labels, as pre-training takes it."""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mmengine import fileio
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from .paths import inside, printable, take_images, walk_files, warn_of_skipped
from .text_files import read_lines

# CustomDataset's own, and '.webp' and '.tiff'.
EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.ppm',
    '.bmp',
    '.pgm',
    '.tif',
    '.tiff',
    '.webp',
)
# As many lines of a list tell whether it has labels, and fits its folder.
NUM_LOOKED_UP = 20
# One or several classes, as mmpretrain's lists have them.
_LABEL = re.compile(r'([\s,]+\d+)+\s*$')
REMEDY = 'pass --cfg-options data_root=/path/to/images'


def find_images(owner: str, folder: str, endings: tuple[str, ...]) -> list[str]:
    """Return the names of the images below a folder, sorted.

    What else there is, and what cannot be read, is logged.

    Args:
        owner: The data set, for the messages.
        folder: The folder, in any storage that mmengine reads.
        endings: What the names of images end in, in lower case.
    """
    skipped: list[str] = []
    if isinstance(get_file_backend(folder), LocalBackend):
        files: Iterable[str] = walk_files(folder, skipped)
    else:
        files = fileio.list_dir_or_file(folder, list_dir=False, recursive=True)
    images = take_images(owner, files, endings, folder)
    warn_of_skipped(owner, skipped)
    return images


@DATASETS.register_module()
class UnlabeledFolder(CustomDataset):
    """Every image of a folder and its sub-folders, at any depth.

    mmpretrain's ``CustomDataset`` with ``with_label=False``, two more file types
    (.webp and .tiff), and a check before training that the images are there. Hidden
    files and folders (names beginning with a dot) are left out. So are folders that
    cannot be read, links to nothing, and links back to a folder that they lie in, all
    with one warning. Files of other types are counted in one line of the log.

    Args:
        data_root: The folder; ``~`` is expanded.
        data_prefix: A sub-folder of ``data_root`` to look in instead. Defaults to ''.
        ann_file: A text file that lists the images to take, one path below the folder
            per line, instead of all. It may also name absolute paths, as mmpretrain's
            lists may and as their author can see, but a path with '..' must not leave
            the folder. Labels after the paths, as in lists of mmpretrain, are left
            out. Defaults to ''.
        extensions: File name endings of images, in any case. Defaults to .jpg, .jpeg,
            .png, .ppm, .bmp, .pgm, .tif, .tiff and .webp.
        **kwargs: Others of ``CustomDataset``: ``pipeline``, ``indices``,
            ``max_refetch``, ``lazy_init``...

    Raises:
        ValueError: If ``data_root`` is empty or None, ``with_label`` is given, there
            is no image, or a path of the list leaves the folder by '..'.
        TypeError: If ``data_root`` is no path.
        FileNotFoundError: If there is no such folder or annotation file, or none of
            the first images that it lists.
        NotADirectoryError: If the path is a file.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | None = '',
        data_prefix: str = '',
        ann_file: str = '',
        extensions: Sequence[str] = EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        if 'with_label' in kwargs:
            raise ValueError(
                'UnlabeledFolder has no labels, so it takes no with_label; use '
                "mmpretrain's CustomDataset for labelled images"
            )
        if data_root is None or data_root == '':
            raise ValueError(
                f'UnlabeledFolder has no data_root (got {data_root!r}): {REMEDY}'
            )
        if not isinstance(data_root, str | os.PathLike):
            raise TypeError(
                f"UnlabeledFolder's data_root must be a path, got {data_root!r}: "
                f'{REMEDY}'
            )
        super().__init__(
            data_root=os.path.expanduser(os.fspath(data_root)),
            data_prefix=os.path.expanduser(data_prefix),
            ann_file=os.path.expanduser(ann_file),
            with_label=False,
            extensions=extensions,
            **kwargs,
        )

    def _join_prefix(self) -> None:
        """Join the paths, and check them even where loading is put off."""
        super()._join_prefix()
        # An empty data_prefix leaves a slash, with which a file is not found.
        folder = self.img_prefix.rstrip('/') or '/'
        if fileio.isfile(folder):
            raise NotADirectoryError(
                f"UnlabeledFolder's path {printable(folder)} is a file, not a folder "
                f'of images: {REMEDY}'
            )
        if not fileio.isdir(folder):
            raise FileNotFoundError(
                f"UnlabeledFolder's folder {printable(folder)} does not exist: {REMEDY}"
            )
        if self.ann_file and not fileio.isfile(self.ann_file):
            raise FileNotFoundError(
                f"UnlabeledFolder's ann_file {printable(self.ann_file)} does not "
                'exist: leave ann_file out to take every image of the folder'
            )

    def load_data_list(self) -> list[dict]:
        """Return one record with its ``img_path`` per image, in the order of names.

        Raises:
            ValueError: If there is no image, or a listed one is outside the folder.
        """
        if self.ann_file:
            paths = self._listed()
            source = f'the list {self.ann_file}'
        else:
            names = find_images('UnlabeledFolder', self.img_prefix, self.extensions)
            paths = [fileio.join_path(self.img_prefix, name) for name in names]
            source = f'the folder {self.img_prefix} or below it'
        if not paths:
            raise ValueError(
                f'UnlabeledFolder found no image in {printable(source)} (looking for '
                f'{", ".join(sorted(self.extensions))}): {REMEDY}, or name other '
                'endings in extensions'
            )
        return [dict(img_path=path) for path in paths]

    def _listed(self) -> list[str]:
        """Return the paths that the list names."""
        lines = read_lines(self.ann_file, names=True)
        names = {number: name for number, name in lines if name.strip()}
        source = printable(self.ann_file)
        if isinstance(get_file_backend(self.img_prefix), LocalBackend):
            names = self._without_labels(names, source)
        return [
            inside(self.img_prefix, name, f'{source}, line {number}', absolute=True)
            for number, name in names.items()
        ]

    def _without_labels(self, names: dict[int, str], source: str) -> dict[int, str]:
        """Leave out labels after the names of a list, if it has some."""

        def exist(names: Iterable[str]) -> bool:
            return any(
                os.path.isfile(os.path.join(self.img_prefix, name)) for name in names
            )

        sample = list(names.values())[:NUM_LOOKED_UP]
        if not sample or exist(sample):
            return names
        if not exist(_LABEL.sub('', name) for name in sample):
            raise FileNotFoundError(
                f'None of the first {len(sample)} images of {source} exists, such as '
                f'{printable(sample[0])} in {printable(self.img_prefix)}: name paths '
                'relative to data_root and data_prefix, one per line'
            )
        print_log(
            f'UnlabeledFolder leaves out the labels after the paths of {source}.',
            logger='current',
            level=logging.INFO,
        )
        return {number: _LABEL.sub('', name) for number, name in names.items()}
