"""Features of image files in an .npz file."""

import ast
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..datasets import ImageFiles, collate_images
from ..engine.checkpoints import atomic_file
from ..models.last_blocks import LastBlocks
from ..models.view_and_regions import split_features, take_view
from .extraction import FeatureBank, run_batches
from .frozen import FrozenBackbone

KEYS = ('pooled', 'regions', 'last_blocks')
_TOOL = 'esvit features'


class FeatureOrigin(NamedTuple):
    """How the features of a file were made, so that those of more images can be.

    Attributes:
        config: Path of the model's config, or its name.
        checkpoint: Path of its checkpoint.
        source: 'teacher' or 'student' of an EsViT, else 'backbone'. Defaults to
            'teacher'.
        size: Side of the images in pixels. Defaults to None, what the backbone was
            made for.
        folder: What relative paths of images start from; '' means here.
        options: What changes the config, by dotted name. Defaults to None.
        digest: ``fingerprint`` of the checkpoint. Defaults to None, not known.
    """

    config: str
    checkpoint: str
    source: str = 'teacher'
    size: int | None = None
    folder: str = ''
    options: dict[str, Any] | None = None
    digest: str | None = None


def write_features(
    model: FrozenBackbone,
    images: ImageFiles,
    out: str,
    keys: Sequence[str] = KEYS,
    num_blocks: int = 4,
    batch_size: int = 32,
    num_workers: int = 2,
    origin: FeatureOrigin | None = None,
) -> None:
    """Write the features of images into an .npz file, and print its shapes.

    The file has ``paths`` (N,), what ``keys`` name and, as scalars, ``origin``. Damaged
    images are left out and named. When it is interrupted, what it has is written beside
    the file, into one ending in .partial.npz.

    Args:
        model: What ``load_backbone`` gives, on the device to be used.
        images: The images.
        out: The file, ending in .npz.
        keys: Of 'pooled' (N, C), 'regions' (N, T, C), the positions of the last map
            row by row, and 'last_blocks' (N, D), the pooled outputs of the last
            blocks. Defaults to all.
        num_blocks: How many of the last blocks. Defaults to 4.
        batch_size: Defaults to 32.
        num_workers: Processes that load images. Defaults to 2.
        origin: Where model and images are from, which ``read_origin`` gives back.
            Defaults to None, not known.

    Raises:
        ValueError: If no image could be read, there are not so many blocks, or the
            backbone has no regions; the message says what to do.
        OSError: If the file cannot be written.
    """
    loader = DataLoader(
        images, batch_size, num_workers=num_workers, collate_fn=collate_images
    )
    backbone = model.backbone
    # Other features need none of what these ask of a backbone.
    last = LastBlocks(backbone, num_blocks) if 'last_blocks' in keys else None

    def extract(inputs: Tensor) -> dict[str, Tensor]:
        with model.checked(inputs), last or contextlib.nullcontext():
            outputs = backbone(inputs)
        features: dict[str, Callable[[], Tensor]] = dict(
            pooled=lambda: take_view(backbone, outputs),
            regions=lambda: _regions(backbone, outputs),
        )
        if last:
            features['last_blocks'] = last.features
        return {key: features[key]() for key in keys}

    bank = FeatureBank(len(images))
    known = {} if origin is None else origin._asdict()
    known = {name: value for name, value in known.items() if value is not None}
    if 'options' in known:
        known['options'] = repr(known['options'])
    partial = f'{out.removesuffix(".npz")}.partial.npz'
    try:
        for batch, features in run_batches(model, loader, extract, show_progress=True):
            bank.append(index=batch['index'], **features)
    except BaseException:
        # What is done is not lost, and an older whole file is kept.
        if len(bank):
            _save(partial, images.paths, bank, keys, known)
        raise
    if not len(bank):
        raise ValueError(
            f'None of the {len(images)} images could be read, the first is '
            f'{images.paths[0]}; nothing is written.'
        )
    _save(out, images.paths, bank, keys, known)
    with contextlib.suppress(FileNotFoundError):
        os.remove(partial)


def _regions(backbone: nn.Module, outputs: Any) -> Tensor:
    try:
        return split_features(backbone, outputs)[1]
    except ValueError as error:
        raise ValueError(
            f'{error} Or leave the regions out: --keys pooled last_blocks.'
        ) from error


def _save(
    out: str,
    paths: list[str],
    bank: FeatureBank,
    keys: Sequence[str],
    origin: dict[str, Any],
) -> None:
    """Write what there is and say what is missing."""
    arrays: dict[str, Any] = {key: bank[key].numpy() for key in keys}
    done = bank['index'].tolist()
    with atomic_file(out) as path:
        np.savez(path, paths=np.array([paths[i] for i in done]), **origin, **arrays)
    shapes = ', '.join(f'{key} {value.shape}' for key, value in arrays.items())
    print(f'{out}: {shapes}')
    missing = sorted(set(range(len(paths))) - set(done))
    if missing:
        print(f'{len(missing)} of {len(paths)} images are not in it:')
        for i in missing[:20]:
            print(f'    {paths[i]}')


def read_features(
    path: str, key: str = 'pooled', level: int | None = None
) -> tuple[np.ndarray, list[str]]:
    """Read features of a file of ``write_features``, and the class of each image.

    A class is a folder, as in data sets of a folder for each class: what lies deeper
    belongs to it.

    Args:
        path: The file.
        key: Which features. Defaults to 'pooled'.
        level: Which folder, counted from 1 below the one that all images share, or
            from -1, the one that holds the image, upwards. Defaults to None: 1, or 2
            where the first ones are called train, val or test.

    Returns:
        Features (N, C), and the name of each image's folder; the last one where an
        image lies less deep.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If ``level`` is 0, or the file is of another kind, or its features
            have another shape or are not finite.
    """
    if level == 0:
        raise ValueError('level must be 1 or more, or -1 or less, got 0.')
    features, paths = read_paths(path, key)
    return features, _classes(paths, level)


def read_paths(path: str, key: str = 'pooled') -> tuple[np.ndarray, list[str]]:
    """As ``read_features``, but with the path of each image as it was written."""
    arrays = _read(path, ('paths', key))
    paths = arrays.get('paths')
    if (
        key not in _features(arrays)
        or paths is None
        or paths.shape != arrays[key].shape[:1]
    ):
        names = _features(_read(path))
        raise ValueError(
            f'{path} has no paths (N,) and features {key!r} (N, C); it has '
            f'{", ".join(names) or "no features"} of this kind. Write it by '
            f'{_TOOL}, and choose by --key.'
        )
    if not np.isfinite(arrays[key]).all():
        raise ValueError(f'{path} has features {key!r} that are not finite.')
    return arrays[key], [str(path) for path in paths]


def read_origin(path: str) -> FeatureOrigin | None:
    """How the features of a file were made, None where an older one does not say.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file.
    """
    arrays = _read(path, ('paths', *FeatureOrigin._fields))
    # Options only where there are any, and older ones have no digest.
    if set(FeatureOrigin._fields) - set(arrays) - {'options', 'digest'}:
        return None
    try:
        known = {n: arrays[n].item() for n in FeatureOrigin._fields if n in arrays}
        options = ast.literal_eval(known.pop('options', 'None'))
        if not isinstance(options, dict | None):
            raise TypeError
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError(
            f'{path} does not say as it should how it was made; write it again by '
            f'{_TOOL}.'
        ) from None
    return FeatureOrigin(**known, options=options)


def _features(arrays: dict[str, np.ndarray]) -> list[str]:
    """The names of those arrays that may be features of images."""
    return [n for n, a in arrays.items() if a.ndim == 2 and a.dtype.kind in 'fiu']


def _read(path: str, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Those arrays of a file that are named and there, or all.

    The others are not read: regions may be larger than memory.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no file {path}.')
    arrays: dict[str, Any] = {}
    is_whole = False
    with open(path, 'rb') as stream:
        try:
            file = np.load(stream)
            # An .npy file is an array, and other members of a zip are bytes.
            if isinstance(file, np.lib.npyio.NpzFile):
                members = file.zip.namelist() if file.zip else []
                wanted = file.files if names is None else {*names} & {*file.files}
                arrays = {name: file[name] for name in wanted}
                is_npy = [name.endswith('.npy') for name in members]
                is_whole = bool(is_npy) and all(is_npy)
        except MemoryError:
            raise MemoryError(f'{path} does not fit into memory.') from None
        except Exception:  # zipfile, its decoders and numpy have many kinds
            is_whole = False
    if not is_whole or not all(isinstance(one, np.ndarray) for one in arrays.values()):
        # numpy's own messages say how to run what such a file may hold.
        raise ValueError(
            f'{path} is no .npz file of numbers, or is damaged. Write it by {_TOOL}.'
        )
    return arrays


def _classes(paths: list[str], level: int | None) -> list[str]:
    """The folder of each image at a level below the one that all images share."""
    if level is None:
        first = set(_classes(paths, 1))
        level = 2 if first <= {'train', 'val', 'valid', 'validation', 'test'} else 1
    parents = [os.path.dirname(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath(parents)
    names = []
    for parent in parents:
        folders = os.path.relpath(parent, root).split(os.sep)
        place = level - 1 if level > 0 else len(folders) + level
        name = folders[min(max(place, 0), len(folders) - 1)]
        names.append(os.path.basename(root) if name == '.' else name)
    return names
