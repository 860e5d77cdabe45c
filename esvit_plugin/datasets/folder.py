"""A folder of images without labels, as pre-training takes it."""

import os
from collections.abc import Sequence
from typing import Any

from mmengine import fileio
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

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
REMEDY = 'pass --cfg-options data_root=/path/to/images'


@DATASETS.register_module()
class UnlabeledFolder(CustomDataset):
    """Every image of a folder and its sub-folders, at any depth.

    mmpretrain's ``CustomDataset`` with ``with_label=False``, two more file types
    (.webp and .tiff), and a check before training that the images are there. Hidden
    files and folders (names beginning with a dot) are left out.

    Args:
        data_root: The folder; ``~`` is expanded.
        data_prefix: A sub-folder of ``data_root`` to look in instead. Defaults to ''.
        ann_file: A text file that lists the images to take, one path below the folder
            per line, instead of all. Defaults to ''.
        extensions: File name endings of images, in any case. Defaults to .jpg, .jpeg,
            .png, .ppm, .bmp, .pgm, .tif, .tiff and .webp.
        **kwargs: Others of ``CustomDataset``: ``pipeline``, ``indices``,
            ``max_refetch``, ``lazy_init``...

    Raises:
        ValueError: If ``data_root`` is empty or None, ``with_label`` is given, or
            there is no image.
        TypeError: If ``data_root`` is no path.
        FileNotFoundError: If there is no such folder or annotation file.
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
            data_prefix=data_prefix,
            ann_file=ann_file,
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
                f"UnlabeledFolder's path {folder} is a file, not a folder of images: "
                f'{REMEDY}'
            )
        if not fileio.isdir(folder):
            raise FileNotFoundError(
                f"UnlabeledFolder's folder {folder} does not exist: {REMEDY}"
            )
        if self.ann_file and not fileio.isfile(self.ann_file):
            raise FileNotFoundError(
                f"UnlabeledFolder's ann_file {self.ann_file} does not exist: leave "
                'ann_file out to take every image of the folder'
            )

    def load_data_list(self) -> list[dict]:
        """Return one record with its ``img_path`` per image, in the order of names.

        Raises:
            ValueError: If there is no image.
        """
        if self.ann_file:
            data_list = super().load_data_list()
            source = f'the list {self.ann_file}'
        else:
            names = fileio.list_dir_or_file(
                self.img_prefix, list_dir=False, recursive=True
            )
            data_list = [
                dict(img_path=fileio.join_path(self.img_prefix, name))
                for name in sorted(names)
                if self.is_valid_file(name)
            ]
            source = f'the folder {self.img_prefix} or below it'
        if not data_list:
            raise ValueError(
                f'UnlabeledFolder found no image in {source} (looking for '
                f'{", ".join(sorted(self.extensions))}): {REMEDY}, or name other '
                'endings in extensions'
            )
        return data_list
