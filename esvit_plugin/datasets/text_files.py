"""Text files of data sets: lines and columns, and errors that name file and line."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from operator import itemgetter

from mmengine import fileio

from .paths import printable


def read_lines(path: str, names: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line of a UTF-8 file, from 1.

    A byte order mark at the beginning, as editors leave it, is left out.

    Args:
        path: The file, in any storage that mmengine reads.
        names: Whether the lines name files, which need not be UTF-8: other bytes then
            become lone surrogates, as in Python's names of files. Defaults to False.

    Raises:
        ValueError: If a line is no UTF-8; the message names the file and the line.
    """
    errors = 'surrogateescape' if names else 'strict'
    # Some storages give a view of memory.
    content = bytes(fileio.get(path)).removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(content.splitlines(), 1):
        try:
            text = line.decode('utf-8', errors)
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{printable(path)}, line {number} is no UTF-8 text '
                f'({line[:80]!r}: {error.reason}): save the file as UTF-8'
            ) from error
        yield number, text


def read_columns(
    path: str,
    columns: Sequence[str],
    optional: str = '',
    hint: str = '',
    delimiter: str = ',',
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the line and the values in some columns of each row of a CSV file.

    Args:
        path: The file; its first line names the columns.
        columns: The columns, in the order wanted.
        optional: A column that comes last where the file has it, and may be empty.
            Defaults to '', none.
        hint: Which file to use instead where a column is missing. Defaults to ''.
        delimiter: What separates the columns. Defaults to ','.

    Raises:
        ValueError: If a column is missing, or a row is shorter or lacks a value, or
            the file is no CSV; the message names the file and the line.
    """
    name = printable(path)
    with open(path, newline='', encoding='utf-8-sig') as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            header = [column.strip() for column in next(reader, [])]
            for column in columns:
                if column not in header:
                    raise ValueError(
                        f'{name} has no column {column} in line 1, but {header[:9]}: '
                        f'{hint}'
                    )
            used = [*columns]
            if optional and optional in header:
                used.append(optional)
            places, needed = [header.index(column) for column in used], len(columns)
            least = max(places)
            # Files have up to a hundred million rows, so this is made to be fast.
            first = slice(places[0], places[0] + 1)
            pick = itemgetter(*places) if len(places) > 1 else itemgetter(first)
            for row in reader:
                if not row:
                    continue
                values = pick(row) if len(row) > least else ('',)
                if '' in values and '' in values[:needed]:
                    raise ValueError(
                        f'{name}, line {reader.line_num} lacks an '
                        f'{" or ".join(used)}: {row[:9]}. Download the file again.'
                    )
                yield reader.line_num, values
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f'{name} is no CSV near line {reader.line_num}: {error}. Download the '
                'file again.'
            ) from error
