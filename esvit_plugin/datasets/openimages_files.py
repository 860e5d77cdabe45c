"""Files of Open Images: CSV lists and labels, and selections of images."""

import os
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .array_dataset import PackedStrings
from .paths import printable
from .text_files import read_columns

TOOL = 'esvit openimages-selection'
# No file system has names that are longer.
MAX_ID = 255
BLOCK = 1 << 16
# What the runs on other data sets are measured by.
IMAGENET_EPOCHS = 300
IMAGENET_IMAGES = 1_281_167


def _read_selection(path: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the image of each line of a selection that is not empty."""
    with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
        for number, line in enumerate(file, 1):
            image = line.strip()
            if len(image) > MAX_ID:
                raise ValueError(
                    f'{printable(path)}, line {number} has {len(image)} characters, '
                    'and is no ImageID: write one ImageID per line'
                )
            if image:
                yield number, image


def _place(path: str, row: int) -> str:
    """Return an image of a selection and its line, for messages."""
    # Lines are not kept, as they are only of use where there is a mistake.
    for i, (number, image) in enumerate(_read_selection(path)):
        if i == row:
            return f"'{printable(image)}' in line {number}"
    return f'number {row + 1}'


def find_selected(path: str, ids: PackedStrings, source: str) -> np.ndarray:
    """Return which images a selection names, bool (N,), after checking it.

    Args:
        path: A text file with one ImageID per line, in any order.
        ids: The images of the set, (N,).
        source: Where they come from, for messages.

    Raises:
        ValueError: If the selection is empty, or names an image twice or one that the
            set lacks; the message has their number and the first one's line.
    """
    name = printable(path)
    packed = PackedStrings(image for _, image in _read_selection(path))
    if not len(packed):
        raise ValueError(
            f'The selection {name} is empty: make it again with {TOOL}, or pass '
            "selection='' for all images"
        )
    width = int(packed.lengths.max())
    selected = packed.fixed(width)
    # Stable, so that of the same images the first in the file comes first.
    order = np.argsort(selected, kind='stable')
    selected = selected[order]
    twice = np.flatnonzero(selected[1:] == selected[:-1])
    if len(twice):
        # The earliest of the lines that repeat an image.
        first = _place(path, int(order[1:][twice].min()))
        raise ValueError(
            f'The selection {name} repeats {len(twice)} of {len(packed)} images, the '
            f'first one {first}: keep one line of each'
        )
    wanted, lengths = ids.fixed(width), ids.lengths
    is_selected, named = np.zeros(len(ids), bool), np.zeros(len(selected), bool)
    # Block by block, as the places of all take as much memory as the images.
    for start in range(0, len(ids), BLOCK):
        block = slice(start, start + BLOCK)
        places = np.searchsorted(selected, wanted[block])
        places = np.minimum(places, len(selected) - 1)
        # Longer images were cut to the width.
        is_selected[block] = selected[places] == wanted[block]
        is_selected[block] &= lengths[block] <= width
        named[places[is_selected[block]]] = True
    if not named.all():
        first = _place(path, int(order[~named].min()))
        raise ValueError(
            f'The selection {name} has {int((~named).sum())} of {len(named)} images '
            f'that {source} does not name, the first one {first}: make it with '
            f'{TOOL} from labels of the same split, or pass the list of all images as '
            'ann_file'
        )
    return is_selected


class Balanced(NamedTuple):
    """The images of the frequent classes.

    Args:
        ids: Their ids, (N,).
        num_images: The number of all images that the labels name.
        num_kept: The number of frequent classes.
        num_classes: The number of all classes that the labels name.
    """

    ids: PackedStrings
    num_images: int
    num_kept: int
    num_classes: int


class _Labels:
    """The image-level labels of CSV files, in a few arrays.

    Args:
        paths: The files.
        min_confidence: The least confidence of a positive label.
    """

    def __init__(self, paths: Sequence[str], min_confidence: float) -> None:
        self.classes: dict[str, int] = {}
        # The class of each positive label, and where the labels of each run of rows
        # with the same image start.
        self.labels, self.starts = array('i'), array('q')
        self.images = PackedStrings(self._read(paths, min_confidence))

    def _read(self, paths: Sequence[str], min_confidence: float) -> Iterator[str]:
        """Yield the image of each run of rows, and keep their positive labels."""
        last = ''
        columns = ('ImageID', 'LabelName', 'Confidence')
        hint = 'pass image-level labels of Open Images'
        for path in paths:
            for line, (image, label, text) in read_columns(path, columns, hint=hint):
                if image != last:
                    # It is to be one line of the selection.
                    if len(image) > MAX_ID or image.split() != [image]:
                        raise ValueError(
                            f'{printable(path)}, line {line} has the ImageID '
                            f'{image[:80]!r}, which is none: Download the file again.'
                        )
                    last = image
                    self.starts.append(len(self.labels))
                    yield image
                try:
                    confidence = float(text)
                except ValueError:
                    confidence = -1
                if not 0 <= confidence <= 1:
                    raise ValueError(
                        f'{printable(path)}, line {line} has the Confidence '
                        f'{text[:80]!r}, not a number from 0 to 1: Download the file '
                        'again.'
                    )
                number = self.classes.setdefault(label, len(self.classes))
                if confidence >= min_confidence:
                    self.labels.append(number)


def balanced_images(
    paths: Sequence[str], min_images: int = 1000, min_confidence: float = 0.5
) -> Balanced:
    """Return the images of the classes with many images, by image-level labels.

    A class that several rows or files give to the same image counts it once, wherever
    the rows are. It takes about 30 bytes of memory per positive label and 100 per image
    of each file while it counts.

    Args:
        paths: CSV files with the columns ImageID, LabelName and Confidence, of machines
            (0.5 to 1, say) or of people (1, or 0 for 'it is not there').
        min_images: The least images of a class that is kept. Defaults to 1000.
        min_confidence: The least confidence of a label that counts. Defaults to 0.5.

    Returns:
        The images with at least one such class, in the order of their first rows.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is malformed (with the line), or no class has as many
            images.
    """
    for path in paths:
        if not os.path.isfile(path):
            raise FileNotFoundError(f'There is no file of labels {printable(path)}')
    read = _Labels(paths, min_confidence)
    num_classes, num_labels = len(read.classes), len(read.labels)
    wide = read.images.fixed(int(read.images.lengths.max(initial=1)))
    # The same image may come in several runs: one of each file, say.
    _, first, run_images = np.unique(wide, return_index=True, return_inverse=True)
    lengths = np.diff(np.asarray(read.starts), append=num_labels)
    # One number for each image and class, of which each is counted once.
    pairs = np.repeat(run_images.reshape(-1).astype(np.int64), lengths)
    pairs *= num_classes
    pairs += np.asarray(read.labels)
    pairs.sort()
    fresh = np.ones(num_labels, bool)
    np.not_equal(pairs[1:], pairs[:-1], out=fresh[1:])
    pairs = pairs[fresh]
    counts = np.bincount(pairs % max(num_classes, 1), minlength=num_classes)
    frequent = counts >= min_images
    if not frequent.any():
        raise ValueError(
            f'No class of {printable(", ".join(paths))} has {min_images} images with a '
            f'confidence of at least {min_confidence}; of {num_classes} classes the '
            f'largest has {counts.max(initial=0)}. Lower --min-images or '
            '--min-confidence, or pass other labels.'
        )
    kept = np.zeros(len(first), bool)
    kept[pairs[frequent[pairs % num_classes]] // num_classes] = True
    runs = np.zeros(len(read.images), bool)
    runs[first[kept]] = True
    return Balanced(
        read.images.select(runs), len(first), int(frequent.sum()), num_classes
    )


def equal_epochs(num_images: int) -> int:
    """Return the epochs that see as many images as 300 epochs of ImageNet-1K.

    Example:
        >>> equal_epochs(7_700_000)
        50
    """
    return max(1, round(IMAGENET_EPOCHS * IMAGENET_IMAGES / num_images))
