"""Lines of TSV files by number, and the index that finds them."""

import os
import uuid
import warnings
from typing import Any

import numpy as np

from .array_dataset import ProcessFiles
from .paths import printable

BLOCK = 1 << 23
# About one image; a longer line takes a second read.
LINE = 1 << 18
HEAD = 1 << 12
NUM_CHECKED = 8
REMEDY = 'build the index again with esvit tsv-index --force'


def index_paths(path: str) -> tuple[str, str]:
    """Return where the index of a TSV file may be: the binary one, the text one."""
    stem = os.path.splitext(path)[0]
    return f'{stem}.lineidx.8b', f'{stem}.lineidx'


def build_tsv_index(path: str, binary: bool = False, force: bool = False) -> str:
    """Write the index of a TSV file, the offset in bytes of each line, if missing.

    It appears under its name only when it is complete.

    Args:
        path: The TSV file.
        binary: Whether to write ``.lineidx.8b`` (8 bytes per line, little-endian, not
            read at start) instead of the authors' ``.lineidx`` (decimal, one per
            line). Defaults to False.
        force: Whether to write it anew, and remove one of the other kind, instead of
            keeping what there is. Defaults to False.

    Returns:
        The path of the index.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no TSV file {printable(path)}')
    existing = [index for index in index_paths(path) if os.path.isfile(index)]
    if existing and not force:
        return existing[0]
    starts, size = [np.zeros(1, np.int64)], 0
    with open(path, 'rb') as file:
        while block := file.read(BLOCK):
            breaks = np.flatnonzero(np.frombuffer(block, np.uint8) == ord('\n'))
            starts.append(breaks + (size + 1))
            size += len(block)
    if not size:
        raise ValueError(f'The TSV file {printable(path)} is empty')
    offsets = np.concatenate(starts).astype('<i8')
    offsets = offsets[offsets < size]
    index = index_paths(path)[0 if binary else 1]
    unfinished = f'{index}.{uuid.uuid4().hex}'
    try:
        if binary:
            offsets.tofile(unfinished)
        else:
            with open(unfinished, 'w', encoding='ascii') as out:
                for part in np.array_split(offsets, len(offsets) // LINE + 1):
                    out.write('\n'.join(map(str, part.tolist())) + '\n')
        os.replace(unfinished, index)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
    for other in existing:
        if other != index:
            os.remove(other)
    return index


def read_tsv_index(path: str) -> np.ndarray:
    """Return an index, int64 of shape (N,): memory-mapped if it is binary.

    Args:
        path: A file with one offset per line, or if it ends in '.8b' 8 bytes for each.

    Raises:
        ValueError: If it is empty or no such file; the message names it.
    """
    size = os.path.getsize(path)
    if not size:
        raise ValueError(f'The index {printable(path)} is empty: {REMEDY}')
    if path.endswith('.8b'):
        if size % 8:
            raise ValueError(
                f'The index {printable(path)} has {size} bytes, not 8 for each line: '
                f'{REMEDY}'
            )
        return np.memmap(path, '<i8', 'r')
    with open(path, encoding='ascii', errors='replace') as file:
        text = file.read().strip()
    try:
        with warnings.catch_warnings():
            # Older numpy only warns about text that is no number.
            warnings.simplefilter('error', DeprecationWarning)
            offsets = np.fromstring(text, np.int64, sep='\n')
        if not len(offsets):
            raise ValueError('there is no number')
        return offsets
    except (ValueError, DeprecationWarning) as error:
        lines = enumerate(text.splitlines(), 1)
        number, line = next(
            ((i, x) for i, x in lines if not x.strip().isdecimal()), (1, text[:40])
        )
        raise ValueError(
            f'The index {printable(path)} has no offset in line {number}, but '
            f'{line[:40]!r}: {REMEDY}'
        ) from error


class TSVFile:
    """The lines of a TSV file by number, found through its index.

    Args:
        path: The TSV file.
        index: Its index. Defaults to the one beside it, the binary one first; only one
            given here may leave out, repeat or reorder lines.

    Raises:
        FileNotFoundError: If either does not exist.
    """

    def __init__(self, path: str, index: str = '') -> None:
        self.path, self.partial = path, bool(index)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'There is no TSV file {printable(path)}')
        indices = [index] if index else list(index_paths(path))
        existing = [name for name in indices if os.path.isfile(name)]
        if not existing:
            raise FileNotFoundError(
                f'The TSV file {printable(path)} has no index '
                f'{printable(" or ".join(indices))}: build it with '
                f'esvit tsv-index {printable(path)}'
            )
        self.index = existing[0]
        self._files = ProcessFiles()
        self._offsets: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled with all its content.
        mapped = isinstance(self._offsets, np.memmap)
        return self.__dict__ | (dict(_offsets=None) if mapped else {})

    @property
    def offsets(self) -> np.ndarray:
        """The offset in bytes of each entry, int64 of shape (N,)."""
        if self._offsets is None:
            self._offsets = read_tsv_index(self.index)
        return self._offsets

    def where(self, entry: int) -> str:
        """Return the name of an entry for messages."""
        unit = 'entry' if self.partial else 'line'
        offset = int(self.offsets[entry])
        return f'{printable(self.path)}, {unit} {entry + 1}, offset {offset}'

    def _refuse(self, problem: str) -> ValueError:
        index, path = printable(self.index), printable(self.path)
        return ValueError(
            f'The index {index} does not fit {path}: {problem}. One of them is '
            f'incomplete, or they belong to different files: {REMEDY} {path}'
        )

    def check(self) -> list[int]:
        """Check that the index fits the data, and return the entries looked at.

        All offsets must lie in the file and ascend; the first, the last and some other
        entries must begin a line that ends where the next entry begins.

        Raises:
            ValueError: If it does not fit; the message says where.
        """
        offsets, size = self.offsets, os.path.getsize(self.path)
        for entry in (int(offsets.argmin()), int(offsets.argmax())):
            if not 0 <= offsets[entry] < size:
                raise self._refuse(
                    f'entry {entry + 1} of {len(offsets)} points to byte '
                    f'{int(offsets[entry])} of {size}'
                )
        if not self.partial and (offsets[0] or (offsets[1:] <= offsets[:-1]).any()):
            raise self._refuse('its offsets do not ascend from 0')
        rest = np.random.default_rng(0).integers(len(offsets), size=NUM_CHECKED)
        entries = sorted({0, len(offsets) - 1, *rest.tolist()})
        for entry in entries:
            end = int(offsets[entry]) + len(self.line(entry)) + 1
            following = size if entry + 1 == len(offsets) else int(offsets[entry + 1])
            if not self.partial and end < following:
                raise self._refuse(
                    f'the line of entry {entry + 1} of {len(offsets)} ends at byte '
                    f'{end}, but lines until byte {following} have no entry'
                )
        return entries

    def line(self, entry: int, limit: int = 0) -> bytes:
        """Return a line without its end, or only its first ``limit`` bytes.

        Raises:
            ValueError: If the index does not point to the beginning of a line.
        """
        offset = int(self.offsets[entry])
        begin, size = max(offset - 1, 0), limit or LINE
        if not (limit or self.partial or entry + 1 == len(self.offsets)):
            size = min(int(self.offsets[entry + 1]) - begin, BLOCK)
        line = self._files.read(self.path, begin, size)
        if offset and not line.startswith(b'\n'):
            raise self._refuse(
                f'entry {entry + 1} points to byte {offset}, where no line begins'
            )
        line = line[offset - begin :]
        end, searched = line.find(b'\n'), len(line)
        while end < 0 and not limit:
            more = self._files.read(self.path, offset + len(line), LINE)
            if not more:
                break
            line += more
            end, searched = line.find(b'\n', searched), len(line)
        return line if end < 0 else line[:end]
