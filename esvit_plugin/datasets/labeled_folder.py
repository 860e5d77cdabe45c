"""Labelled images in folders."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from .folder import EXTENSIONS


@DATASETS.register_module()
class LabeledFolder(CustomDataset):
    """Images in a folder for each class, at any depth in it.

    mmpretrain's ``CustomDataset`` with two more file types (.webp and .tiff), so that
    what is trained on is evaluated, too. Hidden folders (names beginning with a dot)
    are no classes.

    Args:
        *args: As of ``CustomDataset``.
        extensions: File name endings of images, in any case. Defaults to those of
            ``UnlabeledFolder``.
        **kwargs: As of ``CustomDataset``: ``data_root``, ``data_prefix``,
            ``ann_file``, ``pipeline``...
    """

    folder_to_idx: dict[str, int]

    def __init__(
        self, *args: Any, extensions: Sequence[str] = EXTENSIONS, **kwargs: Any
    ) -> None:
        super().__init__(*args, extensions=extensions, **kwargs)

    def _find_samples(self) -> list:
        samples = super()._find_samples()
        if not self.with_label or not any(n[0] == '.' for n in self.folder_to_idx):
            return samples
        # mmpretrain has numbered all folders, in the order of their names.
        names = [name for name in self.folder_to_idx if name[0] != '.']
        numbers = {self.folder_to_idx[name]: i for i, name in enumerate(names)}
        self.folder_to_idx = {name: i for i, name in enumerate(names)}
        self._metainfo['classes'] = tuple(names)
        return [(path, numbers[old]) for path, old in samples if old in numbers]
