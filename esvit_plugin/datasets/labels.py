"""Labels in text columns and label maps."""

import json
import os
from typing import Any

from .paths import printable
from .text_files import read_lines

# More of them are a mistake, which would take all memory.
MAX_CLASSES = 1 << 20


def load_label_map(path: str) -> dict[str, int]:
    r"""Read a label map: lines 'name \t label', or names numbered from 0.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is malformed or empty; the message names the line.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no label map {printable(path)}')
    labels: dict[str, int] = {}
    for number, line in read_lines(path):
        name, tab, label = line.partition('\t')
        if not name or name in labels or (tab and not label.strip().isdecimal()):
            raise ValueError(
                f'{printable(path)}, line {number} must be a new name, or '
                f"'name \\t label' with an integer label, got {line.strip()[:80]!r}"
            )
        labels[name] = int(label) if tab else number - 1
    if not labels:
        raise ValueError(f'The label map {printable(path)} is empty')
    return labels


def parse_label(text: str, names: dict[str, int] | None, place: str) -> int:
    """Return the label that a column says.

    Args:
        text: An integer, a name, or JSON: a dict with a 'class', or a list of such, of
            which the first counts.
        names: The labels of names, or None for integers.
        place: The line of the file, for messages.

    Raises:
        ValueError: If it says none; the message names the place.
    """
    name: Any = text.strip()
    if name[:1] in ('[', '{') and name not in (names or {}):
        try:
            parsed = json.loads(name)
            name = (parsed[0] if isinstance(parsed, list) else parsed)['class']
        # Nesting without end makes Python's parser recurse.
        except (
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            RecursionError,
        ) as error:
            raise ValueError(
                f"{place}: the label {name[:80]!r} is no JSON with a 'class'"
            ) from error
    if names is not None and name in names:
        return names[name]
    if names is None and str(name).isdecimal():
        return int(name)
    remedy = 'pass label_map' if names is None else 'it is not in the label_map'
    kind = 'no integer' if names is None else 'unknown'
    raise ValueError(f'{place}: the label {str(name)[:80]!r} is {kind}: {remedy}')


def split_label(line: str, place: str, num_classes: int = 0) -> tuple[str, int]:
    """Return the path and the label of a line 'path label' of a list.

    Args:
        line: The line; the path may have spaces.
        place: The file and the line, for messages.
        num_classes: The number of classes, or 0 (default) if it is not known.

    Raises:
        ValueError: If it is no such line, or the label is no class; the message names
            the place.
    """
    name, *label = line.strip().rsplit(maxsplit=1)
    if not label or not label[0].isdecimal() or len(label[0]) > 18:
        raise ValueError(
            f"{place} must be 'path label', a space and then an integer label from 0, "
            f'got {line.strip()[:80]!r}'
        )
    # Classes without names are as many as the highest label says.
    limit = num_classes or MAX_CLASSES
    if int(label[0]) >= limit:
        raise ValueError(
            f'{place}: the label {label[0]} of {printable(name)} is no class: labels '
            f'are 0 to {limit - 1}'
        )
    return name, int(label[0])
