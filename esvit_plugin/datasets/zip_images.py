"""Images inside zip files."""

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from .array_dataset import (
    ArrayDataset,
    PackedStrings,
    ProcessFiles,
    existing_folder,
    paths_in,
)
from .folder import EXTENSIONS
from .paths import inside, log_others, printable

LOCAL_HEADER = struct.Struct('<4s22xHH')
LOCAL_SIGNATURE = b'PK\x03\x04'
# Of one image, packed and unpacked: what an archive states is not to be trusted.
MAX_BYTES = 1 << 30
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

    Files of other types are counted in one line of the log.

    Args:
        path: The zip file.
        endings: What the names of images end in, in lower case.

    Raises:
        ValueError: If it is no whole zip file, or an image is encrypted, compressed
            otherwise than by deflate, or named by a path that leaves the archive; the
            message names it.
        OSError: If it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except OSError as error:
        # What goes wrong after opening does not name the file.
        raise OSError(error.errno, error.strerror, path) from error
    # Names that are no UTF-8, versions that Python does not know
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(
            f'{printable(path)} is no zip file, or not a whole one ({error}): copy it '
            'again, or pack it again with zip'
        ) from error
    images, others = [], []
    for member in members:
        name = member.filename
        parts = name.split('/')
        is_hidden = any(part.startswith('.') or part == '__MACOSX' for part in parts)
        if not name.lower().endswith(endings):
            if not (is_hidden or member.is_dir()):
                others.append(name)
            continue
        inside(path, name, f'The archive {printable(path)}')
        if is_hidden:
            continue
        numbers = member.header_offset, member.file_size, member.compress_size
        if min(numbers) < 0 or max(numbers) >= 2**63:
            raise ValueError(
                f'{printable(member.filename)} in {printable(path)} states an '
                'impossible place or size: copy the archive again'
            )
        if member.flag_bits & 1:
            raise ValueError(
                f'{printable(path)} is encrypted ({printable(member.filename)}): '
                'decrypt it'
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f'{printable(member.filename)} in {printable(path)} is compressed by '
                f'method {member.compress_type}: pack it again with zip -0 or zip'
            )
        images.append(member)
    log_others('ZipImages', len(images), others, path)
    return sorted(images, key=lambda member: member.filename)


@DATASETS.register_module()
class ZipImages(ArrayDataset):
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
        self.archives = paths_in(root, zip_file)
        if not self.archives:
            raise ValueError("ZipImages's zip_file is empty: name one or more archives")
        for path in self.archives:
            if not os.path.isfile(path):
                raise FileNotFoundError(f'There is no zip file {printable(path)}')
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
                    f'{printable(path)} holds no image (looking for '
                    f'{", ".join(self.extensions)}): name other endings in extensions'
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
        archives = printable(', '.join(self.archives))
        if '' in folders:
            raise ValueError(
                f'The image {printable(names[folders.index("")])} is in no folder of '
                f'its archive ({archives}), so it has no class: pass '
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
                    f'The folder {printable(folder)} of {archives} is none of the '
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
        if max(packed, size) > MAX_BYTES:
            raise ValueError(
                f'it states {size} bytes, {packed} packed, more than the {MAX_BYTES} '
                'that an image may have'
            )
        _, name, extra = LOCAL_HEADER.unpack(header)
        start = offset + LOCAL_HEADER.size + name + extra
        content = self._files.read(path, start, packed)
        if method == zipfile.ZIP_DEFLATED:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                # One byte more tells that there is more than the archive states.
                content = unpacker.decompress(content, size + 1)
            except zlib.error as error:
                raise ValueError(f'it cannot be unpacked ({error})') from error
        if len(content) != size:
            number = len(content) if len(content) < size else 'more'
            raise ValueError(f'it has {number} instead of {size} bytes')
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
