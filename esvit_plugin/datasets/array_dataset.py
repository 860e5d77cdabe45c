"""What data sets of millions of images share: little memory, and safe reading."""

import copy
import os
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import force_full_init
from mmpretrain.datasets import BaseDataset

from .folder import REMEDY
from .paths import printable


def existing_folder(owner: str, data_root: Any) -> str:
    """Return the path of a folder, with ``~`` expanded, after checking it.

    Args:
        owner: The data set that asks, for the messages.
        data_root: The folder.

    Raises:
        ValueError: If it is empty or None.
        TypeError: If it is no path.
        FileNotFoundError: If there is no such folder.
        NotADirectoryError: If it is a file.
    """
    if data_root is None or data_root == '':
        raise ValueError(f'{owner} has no data_root (got {data_root!r}): {REMEDY}')
    if not isinstance(data_root, str | os.PathLike):
        raise TypeError(
            f"{owner}'s data_root must be a path, got {data_root!r}: {REMEDY}"
        )
    folder = os.path.expanduser(os.fspath(data_root))
    if os.path.isfile(folder):
        raise NotADirectoryError(
            f"{owner}'s data_root {printable(folder)} is a file, not a folder: {REMEDY}"
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{owner}'s data_root {printable(folder)} does not exist: {REMEDY}"
        )
    return folder


def paths_in(root: str, files: str | os.PathLike | Sequence[str]) -> list[str]:
    """Return one or several paths below a folder, ``~`` expanded, as a list."""
    names: Any = [files] if isinstance(files, str | os.PathLike) else files
    return [os.path.join(root, os.path.expanduser(name)) for name in names]


class PackedStrings:
    """Many strings in two arrays: 8 bytes each on top of their UTF-8.

    Names of files that are no UTF-8 (with lone surrogates) come back as they are.

    A list of ten million short strings takes about 1 GB and is copied by every worker;
    these arrays stay shared.

    Args:
        strings: The strings, taken one by one.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        content, ends = bytearray(), array('q')
        for string in strings:
            content += string.encode('utf-8', 'surrogatepass')
            ends.append(len(content))
        self.content = np.array(content, np.uint8)
        self.ends = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        content = self.content[start : self.ends[index]].tobytes()
        return content.decode('utf-8', 'surrogatepass')

    @property
    def lengths(self) -> np.ndarray:
        """The length of each string in bytes, int64 (N,)."""
        return np.diff(self.ends, prepend=0)

    def fixed(self, width: int) -> np.ndarray:
        """Return the UTF-8 of each string, (N,) of ``width`` bytes, for numpy.

        Longer ones are cut. Where all have that length it is a view, and takes nothing.
        """
        if (self.lengths == width).all():
            return self.content.view(f'S{width}')
        places = zip(self.ends, self.lengths, strict=True)
        parts = (self.content[end - size : end].tobytes() for end, size in places)
        return np.fromiter(parts, f'S{width}', len(self))

    def select(self, kept: np.ndarray) -> 'PackedStrings':
        """Return some of the strings, those where ``kept``, bool (N,), is True."""
        lengths, selected = self.lengths, PackedStrings(())
        selected.content = self.content[np.repeat(kept, lengths)]
        selected.ends = np.cumsum(lengths[kept])
        return selected


class ArrayDataset(BaseDataset):
    """A data set that keeps arrays and makes the record of an image when asked.

    mmengine's data sets make a dict per image and pickle them all, which takes many GB
    while ten million are loaded. Subclasses write :meth:`load_rows` and
    :meth:`make_record` instead, and set ``labels``, if any, to an integer array (N,).
    ``rows`` holds the rows in use, all or those of ``indices``.
    """

    rows: Sequence[int] | np.ndarray
    labels: np.ndarray | None = None
    _fully_initialized: bool = False

    def load_rows(self) -> int:
        """Load what the records are made from, and return the number of rows."""
        raise NotImplementedError

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the record of one row."""
        raise NotImplementedError

    def gt_label(self, row: int) -> int:
        """Return the label of one row.

        Raises:
            ValueError: If the data set has none.
        """
        if self.labels is None:
            raise ValueError(f'{type(self).__name__} was made without labels')
        return int(self.labels[row])

    def full_init(self) -> None:
        """Load the data set, once."""
        if self._fully_initialized:
            return
        self.rows = range(self.load_rows())
        if self._indices is not None:
            self.rows = self._choose(self._indices)
        self._fully_initialized = True

    def _choose(self, indices: int | Sequence[int]) -> Sequence[int] | np.ndarray:
        """Return the first few rows, the last few (negative) or those listed."""
        if isinstance(indices, int):
            return self.rows[:indices] if indices >= 0 else self.rows[indices:]
        return np.array([self.rows[index] for index in indices], np.int64)

    @force_full_init
    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return the record of an image, and its number as ``sample_idx``."""
        index = range(len(self.rows))[idx]
        return self.make_record(int(self.rows[index])) | dict(sample_idx=index)

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """Return the labels of all images, (N,)."""
        return np.array([self.gt_label(int(row)) for row in self.rows], np.int64)

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of an image in a list."""
        return [self.gt_label(int(self.rows[idx]))]

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep the first few, the last few (negative) or the listed images."""
        self.rows = self._choose(indices)

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> 'ArrayDataset':
        """Return a data set of some images, as :meth:`get_subset_` keeps."""
        subset = copy.copy(self)
        subset.pipeline = copy.deepcopy(self.pipeline)
        subset.rows = self._choose(indices)
        return subset

    def extra_repr(self) -> list[str]:
        """Say where the images are, in ``repr``."""
        return [f'Root of dataset: \t{self.data_root}']


class ProcessFiles:
    """Reads files at given offsets, with handles of each process's own.

    They are opened on first use, forgotten by copies and pickles, and have no position
    that processes or threads could disturb.
    """

    def __init__(self) -> None:
        self._pid, self._files = -1, dict[str, Any]()

    def __getstate__(self) -> dict[str, Any]:
        return dict(_pid=-1, _files={})

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        if self._pid != os.getpid():
            self._pid, self._files = os.getpid(), {}
        if path not in self._files:
            self._files[path] = open(path, 'rb', buffering=0)  # noqa: SIM115
        return os.pread(self._files[path].fileno(), size, offset)
