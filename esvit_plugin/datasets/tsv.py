"""Tens of millions of images in TSV files, the format of the EsViT authors."""

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from .array_dataset import ArrayDataset, existing_folder, paths_in
from .labels import load_label_map, parse_label
from .paths import printable
from .tsv_file import HEAD, TSVFile


def decode_image(columns: Sequence[bytes], number: int) -> bytes:
    """Return the encoded image of a line.

    Raises:
        ValueError: If the column does not exist or is no base64.
    """
    if not -len(columns) <= number < len(columns):
        raise ValueError(f'there are only {len(columns)} columns')
    try:
        return base64.b64decode(columns[number].rstrip(b'\r'), validate=True)
    except binascii.Error as error:
        raise ValueError(
            f'column {number % len(columns)} has bad base64 ({error})'
        ) from error


@DATASETS.register_module()
class TSVDataset(ArrayDataset):
    r"""Images in TSV files: lines 'key \t base64 of the encoded image'.

    Further columns are allowed; the authors' ImageNet-22K has 'key \t label \t base64'.
    The index beside a file, ``train.lineidx`` or ``train.lineidx.8b`` for
    ``train.tsv``, has the offset in bytes of each line; write it with
    ``esvit tsv-index``. It takes 8 bytes of memory per image;
    the binary one is shared by all processes. Nothing is kept open between processes,
    so any number of workers may read, forked or spawned.

    Each record has ``img_bytes`` (or ``img_error``), for ``LoadImageFromBytes``;
    ``img_path``, the file, the line and the offset; ``img_key``; and ``gt_label`` if
    there are labels::

        dataset=dict(
            type='TSVDataset',
            data_root='data/imagenet22k',
            tsv_file=['train_0.tsv', 'train_1.tsv'],
            label_column=1,
            label_map='labelmap.txt',
            pipeline=[dict(type='LoadImageFromBytes', on_error='skip'), ...],
        )

    Args:
        tsv_file: The file, or several to concatenate, below ``data_root``.
        data_root: The folder; ``~`` is expanded. Defaults to '', the current one.
        lineidx: The index of each file, where it is not the one beside it; it may then
            also be a selection of lines.
        image_column: The column of the image, from 0, or from the end if negative.
            Defaults to -1.
        label_column: The column of the label, if the files have one: an integer, a
            name of ``label_map``, or JSON with a 'class' (the first one counts).
        label_file: Instead of a column, a TSV file with an index for each ``tsv_file``,
            with a line 'key \t label' for each of its lines.
        label_map: A file of lines 'name \t label', or of names numbered from 0. It
            also gives the ``classes`` where the labels are 0, 1, 2...
        **kwargs: Others of mmpretrain's ``BaseDataset``: ``pipeline``, ``indices``,
            ``max_refetch``, ``lazy_init``...

    Raises:
        ValueError: If options contradict each other, an index does not fit its file, a
            label is malformed, no image is found in ``image_column``, or there is no
            ``label_column``.
        FileNotFoundError: If a file or its index does not exist.
    """

    def __init__(
        self,
        tsv_file: str | Sequence[str],
        data_root: str | os.PathLike = '',
        lineidx: str | Sequence[str] = (),
        image_column: int = -1,
        label_column: int | None = None,
        label_file: str | Sequence[str] = (),
        label_map: str = '',
        **kwargs: Any,
    ) -> None:
        root = existing_folder('TSVDataset', data_root) if data_root else ''
        paths, indices, label_paths = (
            paths_in(root, files) for files in (tsv_file, lineidx, label_file)
        )
        if not paths:
            raise ValueError("TSVDataset's tsv_file is empty: name one or more files")
        for name, given in (('lineidx', indices), ('label_file', label_paths)):
            if given and len(given) != len(paths):
                raise ValueError(
                    f'TSVDataset has {len(paths)} files in tsv_file, but {len(given)} '
                    f'in {name}: name one for each, or none'
                )
        labelled = label_column is not None, bool(label_paths)
        if all(labelled) or (label_map and not any(labelled)):
            raise ValueError(
                'TSVDataset takes labels from either label_column or label_file, and '
                f'a label_map only with one of them; got label_column={label_column}, '
                f'label_file={label_file!r}, label_map={label_map!r}'
            )
        self.files = [
            TSVFile(path, indices[i] if indices else '') for i, path in enumerate(paths)
        ]
        self.label_files = [TSVFile(path) for path in label_paths]
        self.image_column, self.label_column = image_column, label_column
        self.names = load_label_map(paths_in(root, label_map)[0]) if label_map else None
        if self.names and sorted(self.names.values()) == list(range(len(self.names))):
            kwargs.setdefault('classes', sorted(self.names, key=self.names.__getitem__))
        super().__init__(ann_file='', data_root=root, data_prefix='', **kwargs)

    def load_rows(self) -> int:
        """Check files against indices and labels; return the number of images."""
        self.num_columns = [self._count_columns(file) for file in self.files]
        column = self.label_column
        for file, number in zip(self.files, self.num_columns, strict=True):
            if column is not None and not -number <= column < number:
                raise ValueError(
                    f'{printable(file.path)} has {number} columns, and so no '
                    f'label_column={column}, counted from 0: pass another label_column'
                )
        for file, labels in zip(self.files, self.label_files, strict=False):
            labels.check()
            if len(labels.offsets) != len(file.offsets):
                raise ValueError(
                    f'{printable(labels.path)} has {len(labels.offsets)} labels for '
                    f'{len(file.offsets)} images of {printable(file.path)}: one '
                    'each is needed'
                )
        self.ends = np.cumsum([len(file.offsets) for file in self.files])
        return int(self.ends[-1])

    def _count_columns(self, file: TSVFile) -> int:
        """Return the number of columns of a file, where one of some lines is good."""
        problem = ''
        for entry in file.check():
            columns = file.line(entry).split(b'\t')
            try:
                decode_image(columns, self.image_column)
            except ValueError as error:
                problem = problem or f'{file.where(entry)}: {error}'
            else:
                return len(columns)
        raise ValueError(
            f'{problem}. None of the lines looked at has an image in image_column='
            f'{self.image_column}: pass another image_column, or check the file'
        )

    def _locate(self, row: int) -> tuple[int, int]:
        """Return the number of the file and of the entry in it."""
        number = int(np.searchsorted(self.ends, row, 'right'))
        return number, row - (int(self.ends[number - 1]) if number else 0)

    def _label(self, number: int, entry: int, columns: list[bytes]) -> int:
        """Return the label of an entry whose first columns are given."""
        file = self.files[number]
        if self.label_column is not None:
            whole, column = self.num_columns[number], self.label_column
            # The last column of a line that is cut off may be cut, too; those counted
            # from the end are others.
            if len(columns) < whole and not 0 <= column < len(columns) - 1:
                raise ValueError(
                    f'{file.where(entry)}: the line ends early, after {len(columns)} '
                    f'of {whole} columns, without its label (label_column={column}): '
                    'copy the file again'
                )
            text = columns[column]
        elif self.label_files:
            image, file = file, self.label_files[number]
            key, _, text = file.line(entry).partition(b'\t')
            if key != columns[0]:
                raise ValueError(
                    f'{file.where(entry)}: the label of {key[:80]!r} stands where '
                    f'{printable(image.path)} has {columns[0][:80]!r}: sort them alike'
                )
        else:
            raise ValueError('TSVDataset was made without label_column or label_file')
        return parse_label(text.decode(errors='replace'), self.names, file.where(entry))

    def gt_label(self, row: int) -> int:
        """Return the label of one row, without reading its image where possible."""
        number, entry = self._locate(row)
        wanted = self.label_column or 0
        columns = self.files[number].line(entry, limit=HEAD).split(b'\t')
        if not 0 <= wanted < len(columns) - 1:
            columns = self.files[number].line(entry).split(b'\t')
        return self._label(number, entry, columns)

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the record of one row; see the class for its keys."""
        number, entry = self._locate(row)
        file = self.files[number]
        columns = file.line(entry).split(b'\t')
        record: dict[str, Any] = dict(
            img_path=file.where(entry),
            img_key=columns[0].decode(errors='replace'),
            img_bytes=b'',
        )
        if len(columns) < self.num_columns[number]:
            record['img_error'] = (
                f'the line ends early, after {len(columns)} of '
                f'{self.num_columns[number]} columns'
            )
            return record
        try:
            record['img_bytes'] = decode_image(columns, self.image_column)
        except ValueError as error:
            record['img_error'] = str(error)
        if self.label_column is not None or self.label_files:
            record['gt_label'] = self._label(number, entry, columns)
        return record
