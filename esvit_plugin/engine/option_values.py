"""Values of ``KEY=VALUE`` on the command line."""

import argparse
import re
from typing import Any

from mmengine.config import DictAction

from .configs import LOCATIONS

# A dict, also in a list; read as mmengine does it would be a string. Braces alone may
# be of a file's name, as in epoch_{}.pth.
_DICT = re.compile(r"""(?:^|[\[(,])['"\s]*(?:dict\(|\{.*\}['"\s]*(?:$|[\]),]))""")
# Settings of paths that may be several, where a comma parts them without brackets, too.
_SEVERAL = ('ann_file', 'tsv_file', 'zip_file', 'label_file', 'lineidx')
_BRACKETS = (('[', ']'), ('(', ')'))


class SettingsAction(argparse.Action):
    """mmengine's ``DictAction``, but spaces and paths stay as they are.

    mmengine takes all spaces out of a value, and makes a list of a path with a comma:
    another folder would be read. Messages say what cannot be read.
    """

    def __call__(self, parser: Any, namespace: Any, values: Any, *args: Any) -> None:
        """Add the settings of the command line to the dict of the option."""
        option = self.option_strings[0]
        found = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            name, sign, value = text.partition('=')
            if not sign or not all(name.split('.')):
                raise ValueError(f'{option} takes KEY=VALUE, got {text!r}.')
            is_path = _is_path(name)
            if _DICT.match(value) if is_path else _DICT.search(value):
                raise ValueError(
                    f'{option} {text}: a dict is given by its parts, {name}.KEY=VALUE, '
                    'or in a config file.'
                )
            try:
                found[name] = _read_path(name, value) if is_path else read_value(value)
            except (ValueError, RecursionError):
                raise ValueError(
                    f'{option} {text}: the value cannot be read; look at its '
                    'brackets and quotes.'
                ) from None
        setattr(namespace, self.dest, found)


def read_value(text: str) -> Any:
    """Read a value: a number, True, False, None, a list, a tuple, or else a string.

    Args:
        text: A list has brackets, or at least a comma. Quotes around it, or around
            one of its items, are left out.

    Returns:
        The value.

    Raises:
        ValueError: If brackets are not closed.
    """
    text = text.strip().strip('\'"').strip()
    has_brackets = (text[:1], text[-1:]) in _BRACKETS
    if not has_brackets and ',' not in text:
        return DictAction._parse_int_float_bool(text)
    if any(text.count(left) != text.count(right) for left, right in _BRACKETS):
        raise ValueError(f'Brackets of {text} are not closed.')
    parts, depth = [''], 0
    for char in text[1:-1] if has_brackets else text:
        depth += (char in '([') - (char in ')]')
        if char == ',' and not depth:
            parts.append('')
        else:
            parts[-1] += char
    # As in Python, after the last comma there need not be another item.
    if not parts[-1].strip():
        parts.pop()
    values = [read_value(part) for part in parts]
    return tuple(values) if has_brackets and text[0] == '(' else values


def _is_path(name: str) -> bool:
    """Whether a setting is a file or a folder, or one of several."""
    *_, before, last = ['', *name.split('.')]
    is_item = before == 'data_prefix' or last.isdigit() and before in LOCATIONS
    return is_item or last in LOCATIONS


def _read_path(name: str, text: str) -> Any:
    """A path as it is, without quotes around it; also None, or a list in brackets."""
    text = text.strip()
    if (text[:1], text[-1:]) in _BRACKETS:
        return read_value(text)
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':
        return text[1:-1]
    if ',' in text and name.split('.')[-1] in _SEVERAL:
        return [part.strip() for part in text.split(',')]
    return None if text == 'None' else text
