"""Names of files: walking folders, lists of names, and names in messages."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmengine.logging import print_log

NUM_NAMED = 3


def printable(name: object) -> str:
    r"""Return a name as it can be printed and logged, in one line.

    File names need not be UTF-8. Python then holds their bytes as lone surrogates,
    which no stream takes; these and control characters are written as in ``repr``.

    Args:
        name: A name, a path, an error or any text that may hold names.

    Example:
        >>> printable('a\udce4.jpg')
        'a\\udce4.jpg'
    """
    text = str(name)
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def may_leave(name: str) -> bool:
    """Say whether :func:`inside` has to look at a name; fast, as most are harmless."""
    return '..' in name or name.startswith('/')


def inside(folder: str, name: str, place: str, absolute: bool = False) -> str:
    """Return the path of a name that a list gives, which must lie below a folder.

    Lists come with data sets from anywhere, so a name in one must not reach another
    part of the machine. Links in the folder itself are the user's own, and followed.

    Args:
        folder: The folder.
        name: The name.
        place: The place of the name, for messages.
        absolute: Whether absolute names are allowed. Defaults to False.

    Raises:
        ValueError: If the name is absolute or leads out of the folder by '..'.
    """
    if may_leave(name):
        leaves = os.path.normpath(name).split(os.sep)[0] == os.pardir
        if leaves or (os.path.isabs(name) and not absolute):
            raise ValueError(
                f'{place}: the name {printable(name[:200])!r} leads out of the folder '
                f'{printable(folder)}: write it relative to that folder, without '
                "leaving it by '..', or remove it"
            )
    return os.path.join(folder, name)


def walk_files(
    folder: str, skipped: list[str], recursive: bool = True
) -> Iterator[str]:
    """Yield the files below a folder by their names relative to it, in no order.

    Hidden files and folders (names beginning with a dot) are left out. Links to files
    and folders are followed.

    Args:
        folder: The folder.
        skipped: Takes a description of each entry that is left out: a folder that
            cannot be read, a link to nothing, or to a folder that it lies in, also one
            above ``folder``. (Whether a file can be read shows when it is.)
        recursive: Whether to go into sub-folders. Defaults to True.
    """
    # Links may lead back to what the folder itself lies in, too.
    parents = filter(os.path.isdir, Path(os.path.realpath(folder)).parents)
    outside = frozenset((x.st_dev, x.st_ino) for x in map(os.stat, parents))
    # A stack, as folders may be nested deeper than functions.
    waiting = [('', outside)]
    while waiting:
        place, above = waiting.pop()
        path = os.path.join(folder, place) if place else folder
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in above:
                raise OSError('a link back to a folder that it lies in')
            with os.scandir(path) as listing:
                entries = [x for x in listing if not x.name.startswith('.')]
        except OSError as error:
            skipped.append(_describe(path, error))
            continue
        above |= {(status.st_dev, status.st_ino)}
        for entry in entries:
            name = os.path.join(place, entry.name)
            try:
                if entry.is_dir():
                    if recursive:
                        waiting.append((name, above))
                elif entry.is_file():
                    yield name
                elif entry.is_symlink():
                    entry.stat()  # says why it leads nowhere
            except OSError as error:
                skipped.append(_describe(entry.path, error))


def _describe(path: str, error: OSError) -> str:
    return printable(f'{path} ({error.strerror or error})')


def warn_of_skipped(owner: str, skipped: list[str]) -> None:
    """Log one warning about the entries that :func:`walk_files` left out, if any.

    Args:
        owner: The data set, for the message.
        skipped: Their descriptions.
    """
    if not skipped:
        return
    more = len(skipped) - NUM_NAMED
    log_of_images(
        f'{owner} left out {len(skipped)} entries of folders that cannot be read: '
        + '; '.join(sorted(skipped)[:NUM_NAMED])
        + (f'; and {more} more' if more > 0 else '')
        + '. Mend or remove them, or go on without them.',
        logging.WARNING,
    )


def log_of_images(message: str, level: int = logging.INFO) -> None:
    """Log a message about the files of a data set, in the first process only.

    The processes read their images before they are joined, and all find the same.

    Args:
        message: The message.
        level: Its level. Defaults to ``logging.INFO``.
    """
    rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID')
    if rank in (None, '', '0'):
        print_log(message, 'current', level)


def log_others(owner: str, images: int, others: Iterable[str], source: str) -> None:
    """Log one line about the files that are no images by their ending, if any.

    Args:
        owner: The data set, for the message.
        images: The number of images.
        others: The names of the other files.
        source: Where they lie.
    """
    endings = [os.path.splitext(name)[1].lower() or 'no ending' for name in others]
    if not endings:
        return
    common = Counter(endings).most_common(NUM_NAMED)
    rest = len(endings) - sum(number for _, number in common)
    log_of_images(
        f'{owner}: {images} images of {printable(source)}; left out {len(endings)} '
        'files that are no images by their ending: '
        + ', '.join(f'{printable(ending)} {number}' for ending, number in common)
        + (f', others {rest}' if rest else '')
    )


def take_images(
    owner: str, names: Iterable[str], endings: tuple[str, ...], source: str
) -> list[str]:
    """Return the names of images, sorted, and log how many others there are.

    Args:
        owner: The data set, for the message.
        names: The names of files.
        endings: What the names of images end in, in lower case.
        source: Where they lie.
    """
    images: list[str] = []
    others: list[str] = []
    for name in names:
        (images if name.lower().endswith(endings) else others).append(name)
    log_others(owner, len(images), others, source)
    return sorted(images)
