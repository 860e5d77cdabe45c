"""Labelled images in folders."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine import fileio
from mmengine.fileio import get_file_backend
from mmpretrain.datasets import CustomDataset, ImageNet
from mmpretrain.registry import DATASETS

from .folder import EXTENSIONS, find_images
from .labels import split_label
from .paths import log_of_images, printable
from .text_files import read_lines


@DATASETS.register_module()
class LabeledFolder(CustomDataset):
    """Images in a folder for each class, at any depth in it, or of a list with labels.

    mmpretrain's ``CustomDataset`` with two more file types (.webp and .tiff), so that
    what is trained on is evaluated, too, and with lists whose mistakes are named. What
    ``UnlabeledFolder`` leaves out is left out here: hidden folders, which are no
    classes, and links back to a folder that they lie in, among others.

    Args:
        *args: As of ``CustomDataset``.
        extensions: File name endings of images, in any case. Defaults to those of
            ``UnlabeledFolder``.
        **kwargs: As of ``CustomDataset``: ``data_root``, ``data_prefix``,
            ``ann_file``, a list of lines 'path label' with labels from 0,
            ``pipeline``...

    Raises:
        ValueError: If there is no image, folders do not fit ``classes``, or a line of
            the list is malformed or has a label that is no class; the message has it.
    """

    folder_to_idx: dict[str, int]

    def __init__(
        self, *args: Any, extensions: Sequence[str] = EXTENSIONS, **kwargs: Any
    ) -> None:
        super().__init__(*args, extensions=extensions, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one record per image, with its ``img_path`` and ``gt_label``."""
        if not self.ann_file:
            return super().load_data_list()
        backend = get_file_backend(self.img_prefix, enable_singleton=True)
        source, num_classes = printable(self.ann_file), len(self.CLASSES or ())
        records = []
        for number, line in read_lines(self.ann_file, names=True):
            if not line.strip():
                continue
            place = f'{source}, line {number}'
            record: dict[str, Any] = {}
            if self.with_label:
                line, record['gt_label'] = split_label(line, place, num_classes)
            path = record['img_path'] = backend.join_path(self.img_prefix, line)
            # Such as those of a list in another encoding than the folder's.
            if not line.isprintable() and not fileio.isfile(path):
                raise ValueError(
                    f'{place}: there is no image {printable(path)}: save the list as '
                    'UTF-8, with the names that the folder has'
                )
            records.append(record)
        if not records:
            raise ValueError(
                f'The list {source} is empty: write a line for each image, or leave '
                'ann_file out to take the classes from folders'
            )
        return records

    def _find_samples(self) -> list:
        """Return the names of the images, each with the number of its folder."""
        root = self.img_prefix
        # The names first, as they tell that there is no such folder.
        folders = sorted(
            name
            for name in fileio.list_dir_or_file(root, list_file=False)
            if name[0] != '.' and not _is_above(root, name)
        )
        owner = type(self).__name__
        images = find_images(owner, root, self.extensions)
        samples: list = images
        if self.with_label:
            samples = self._number(images, folders)
        if not samples:
            raise ValueError(
                f'{owner} found no image in {printable(root)} (looking for '
                f'{", ".join(sorted(self.extensions))}): put those of each class into '
                'a folder there, or name other endings in extensions'
            )
        return samples

    def _number(self, images: list[str], folders: list[str]) -> list[tuple[str, int]]:
        """Return images with the numbers of their folders, and set the classes."""
        owner, root = type(self).__name__, printable(self.img_prefix)
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(folders)
        elif len(self.CLASSES) != len(folders):
            raise ValueError(
                f'{owner} has {len(self.CLASSES)} classes, but {root} has '
                f'{len(folders)} folders: give each class one, or leave classes out'
            )
        self.folder_to_idx = {name: i for i, name in enumerate(folders)}
        parts = [name.partition('/') for name in images]
        samples = [
            (f'{folder}/{name}', self.folder_to_idx[folder])
            for folder, _, name in sorted(parts)
            if folder in self.folder_to_idx
        ]
        empty = set(folders) - {folder for folder, _, _ in parts}
        if empty:
            log_of_images(
                f'{owner} found no image in the folders '
                f'{printable(", ".join(sorted(empty)))} of {root}.',
                logging.WARNING,
            )
        if len(samples) < len(images):
            log_of_images(
                f'{owner} left out {len(images) - len(samples)} images of {root} that '
                'lie in no folder of a class.',
                logging.WARNING,
            )
        return samples


def _is_above(root: str, name: str) -> bool:
    """Whether an entry of a folder is a link to what the folder lies in, or to it."""
    target = os.path.realpath(os.path.join(root, name))
    return Path(os.path.realpath(root)).is_relative_to(target)


@DATASETS.register_module()
class ListedImageNet(LabeledFolder, ImageNet):
    """mmpretrain's ``ImageNet``, read as a ``LabeledFolder``, for lists of one's own.

    Args:
        *args: As of ``ImageNet``.
        **kwargs: As of ``ImageNet`` and ``LabeledFolder``.
    """
