"""Images inside zip files."""

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from .compact import (
    CompactDataset,
    PackedStrings,
    ProcessFiles,
    below,
    existing_folder,
)
from .folder import EXTENSIONS

LOCAL_HEADER = struct.Struct('<4s22xHH')
LOCAL_SIGNATURE = b'PK\x03\x04'
# Where an image lies in its archive; 30 bytes instead of the 500 of a ZipInfo.
MEMBER = np.dtype(
    [
        ('offset', '<i8'),
        ('packed', '<i8'),
        ('size', '<i8'),
        ('crc', '<u4'),
        ('method', '<u2'),
    ]
)


def list_members(path: str, endings: tuple[str, ...]) -> list[zipfile.ZipInfo]:
    """Return the images of a zip file by name, hidden ones left out.

    Args:
        path: The zip file.
        endings: What the names of images end in, in lower case.

    Raises:
        ValueError: If it is no whole zip file, or an image is encrypted or compressed
            otherwise than by deflate; the message names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ValueError(
            f'{path} is no zip file, or not a whole one ({error}): copy it again'
        ) from error
    images = []
    for member in members:
        parts = member.filename.split('/')
        hidden = any(part.startswith('.') or part == '__MACOSX' for part in parts)
        if hidden or not member.filename.lower().endswith(endings):
            continue
        if member.flag_bits & 1:
            raise ValueError(f'{path} is encrypted ({member.filename}): decrypt it')
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f'{member.filename} in {path} is compressed by method '
                f'{member.compress_type}: pack it again with zip -0 or zip'
            )
        images.append(member)
    return sorted(images, key=lambda member: member.filename)


@DATASETS.register_module()
class ZipImages(CompactDataset):
    """The images inside one or several zip files, stored or deflated.

    The archives are listed once; then each image is found by its offset, without the
    archive's own directory, so that any number of workers may read, forked or spawned.
    Names take their length in memory, and the rest 42 bytes per image. Names with a
    part beginning with a dot, and those below ``__MACOSX``, are left out.

    Each record has ``img_bytes`` (or ``img_error``), for ``LoadImageFromBytes``;
    ``img_path``, the archive and the name inside; and ``gt_label`` on demand::

        dataset=dict(
            type='ZipImages',
            data_root='data/imagenet',
            zip_file='train.zip',
            pipeline=[dict(type='LoadImageFromBytes', on_error='skip'), ...],
        )

    Args:
        zip_file: The archive, or several, below ``data_root``.
        data_root: The folder; ``~`` is expanded. Defaults to '', the current one.
        with_label: Whether the folder that holds an image inside the archive is its
            class. Classes are numbered in the order of their paths, or of ``classes``,
            which may name them by path or by the last part. Defaults to False.
        extensions: File name endings of images, in any case. Defaults to .jpg, .jpeg,
            .png, .ppm, .bmp, .pgm, .tif, .tiff and .webp.
        **kwargs: Others of mmpretrain's ``BaseDataset``: ``pipeline``, ``indices``,
            ``classes``, ``lazy_init``...

    Raises:
        ValueError: If no archive is named, an archive is damaged, holds no image or
            one that cannot be read (see :func:`list_members`), or an image has no
            class.
        FileNotFoundError: If an archive does not exist.
    """

    def __init__(
        self,
        zip_file: str | Sequence[str],
        data_root: str | os.PathLike = '',
        with_label: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        root = existing_folder('ZipImages', data_root) if data_root else ''
        self.archives = below(root, zip_file)
        if not self.archives:
            raise ValueError("ZipImages's zip_file is empty: name one or more archives")
        for path in self.archives:
            if not os.path.isfile(path):
                raise FileNotFoundError(f'There is no zip file {path}')
        self.with_label = with_label
        self.extensions = tuple(ending.lower() for ending in extensions)
        self._files = ProcessFiles()
        super().__init__(ann_file='', data_root=root, data_prefix='', **kwargs)

    def load_rows(self) -> int:
        """List the archives, and return the number of images."""
        names: list[str] = []
        members, counts = [], []
        for path in self.archives:
            images = list_members(path, self.extensions)
            if not images:
                raise ValueError(
                    f'{path} holds no image (looking for {", ".join(self.extensions)})'
                    ': name other endings in extensions'
                )
            rows = [
                (x.header_offset, x.compress_size, x.file_size, x.CRC, x.compress_type)
                for x in images
            ]
            members.append(np.array(rows, MEMBER))
            counts.append(len(images))
            names += [x.filename for x in images]
        self.members, self.ends = np.concatenate(members), np.cumsum(counts)
        self.paths = PackedStrings(names)
        self.labels = self._find_labels(names) if self.with_label else None
        return len(names)

    def _find_labels(self, names: list[str]) -> np.ndarray:
        """Return the numbers of the folders, and set the classes."""
        folders = [os.path.dirname(name) for name in names]
        if '' in folders:
            raise ValueError(
                f'The image {names[folders.index("")]} is in no folder of its archive '
                f'({", ".join(self.archives)}), so it has no class: pass '
                'with_label=False, or pack images by class'
            )
        classes = self.CLASSES or sorted(set(folders))
        self._metainfo['classes'] = tuple(classes)
        numbers = {name: number for number, name in enumerate(classes)}
        known = {}
        for folder in set(folders):
            last = os.path.basename(folder)
            if folder not in numbers and last not in numbers:
                raise ValueError(
                    f'The folder {folder} of {", ".join(self.archives)} is none of the '
                    f'{len(classes)} classes: add it, or leave out classes'
                )
            known[folder] = numbers.get(folder, numbers.get(last))
        return np.array([known[folder] for folder in folders], np.int32)

    def _unpack(self, path: str, row: int) -> bytes:
        """Return the content of a member.

        Raises:
            ValueError: If it is damaged.
        """
        offset, packed, size, crc, method = self.members[row].tolist()
        header = self._files.read(path, offset, LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_SIGNATURE):
            raise ValueError(f'no member begins at byte {offset} of the archive')
        _, name, extra = LOCAL_HEADER.unpack(header)
        start = offset + LOCAL_HEADER.size + name + extra
        content = self._files.read(path, start, packed)
        if method == zipfile.ZIP_DEFLATED:
            try:
                content = zlib.decompress(content, -zlib.MAX_WBITS, max(size, 1))
            except zlib.error as error:
                raise ValueError(f'it cannot be unpacked ({error})') from error
        if len(content) != size:
            raise ValueError(f'it has {len(content)} instead of {size} bytes')
        if zlib.crc32(content) != crc:
            raise ValueError('its checksum is wrong')
        return content

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the record of one row; see the class for its keys."""
        archive = self.archives[int(np.searchsorted(self.ends, row, 'right'))]
        record: dict[str, Any] = dict(
            img_path=f'{archive}/{self.paths[row]}', img_bytes=b''
        )
        try:
            record['img_bytes'] = self._unpack(archive, row)
        except ValueError as error:
            record['img_error'] = f'the member of the archive is corrupt: {error}'
        if self.labels is not None:
            record['gt_label'] = self.gt_label(row)
        return record
