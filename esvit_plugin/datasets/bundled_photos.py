"""Sixteen real photographs that come with scikit-image and scikit-learn."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from PIL import Image

# photograph -> (import package, its distribution, the file inside the package)
PHOTO_FILES = {
    name: ('skimage', 'scikit-image', f'data/{name}{suffix}')
    for name, suffix in {
        'astronaut': '.png',
        'brick': '.png',
        'camera': '.png',
        'chelsea': '.png',
        'coffee': '.png',
        'coins': '.png',
        'grass': '.png',
        'gravel': '.png',
        'hubble_deep_field': '.jpg',
        'ihc': '.png',
        'motorcycle_left': '.png',
        'retina': '.jpg',
        'rocket': '.jpg',
        'moon': '.png',
    }.items()
} | {
    name: ('sklearn', 'scikit-learn', f'datasets/images/{name}.jpg')
    for name in ('china', 'flower')
}
PHOTO_NAMES = tuple(PHOTO_FILES)


def _photo_path(name: str) -> Path:
    """Return the file of a photograph inside the installed package."""
    if name not in PHOTO_FILES:
        raise ValueError(f'No photograph {name!r}; there are {", ".join(PHOTO_NAMES)}')
    package, distribution, file = PHOTO_FILES[name]
    # Found, not imported: scikit-learn takes a second to import, and scikit-image's
    # own accessors may fetch files from the network.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f'The photograph {name!r} comes with {distribution}, which is not '
            'installed: pip install "esvit_plugin[demo]"'
        )
    path = Path(spec.submodule_search_locations[0], file)
    if not path.is_file():
        raise FileNotFoundError(
            f'The installed {distribution} does not carry {path}: '
            'pip install --force-reinstall "esvit_plugin[demo]"'
        )
    return path


def load_photo(name: str, short_side: int = 320) -> np.ndarray:
    """Return a whole photograph, scaled bicubically with antialiasing.

    Args:
        name: One of ``PHOTO_NAMES``.
        short_side: The length of its shorter side in pixels. Defaults to 320.

    Returns:
        uint8 of shape (H, W, 3), RGB; a grey photograph three times the same.

    Raises:
        ValueError: If there is no such photograph, or ``short_side`` is not positive.
        ImportError: If scikit-image or scikit-learn is missing.
        FileNotFoundError: If the installed one does not carry the photograph.
    """
    if short_side < 1:
        raise ValueError(f'short_side must be at least 1 pixel, got {short_side!r}')
    with Image.open(_photo_path(name)) as file:
        photo = file.convert('RGB')
    scale = short_side / min(photo.size)
    width, height = (round(side * scale) for side in photo.size)
    return np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC))


@DATASETS.register_module()
class BundledPhotos(BaseDataset):
    """Crops of 16 photographs, for demonstrations and tests without a download.

    The class of a crop is the photograph it comes from. Training crops lie in the left
    60% of the width, test crops in the right 40%, so none overlaps the other split.
    Crops are a function of ``seed``, split and photograph alone, and are kept in
    memory: each record has ``img`` (uint8 (crop_size, crop_size, 3), BGR),
    ``gt_label`` and ``img_path``, a name such as 'astronaut#12'. So a pipeline starts
    with ``MultiCrop``, not with loading.

    Args:
        split: 'train' (default) or 'test'.
        crop_size: Side of a crop in pixels. Defaults to 64.
        short_side: Shorter side of the scaled photographs in pixels. Defaults to 320.
        num_train: Training crops per photograph. Defaults to 96.
        num_test: Test crops per photograph. Defaults to 24.
        seed: Of the crops' positions, not negative. Defaults to 0.
        **kwargs: Others of mmpretrain's ``BaseDataset``: ``pipeline``, ``test_mode``,
            ``indices``...

    Raises:
        ValueError: If ``split`` is neither, a number is too small, or the right 40% of
            a photograph may be narrower than a crop.
        ImportError: If scikit-image or scikit-learn is missing.
    """

    METAINFO = {'classes': PHOTO_NAMES}

    def __init__(
        self,
        split: str = 'train',
        crop_size: int = 64,
        short_side: int = 320,
        num_train: int = 96,
        num_test: int = 24,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(
                f"BundledPhotos's split must be 'train' or 'test', got {split!r}"
            )
        sizes = dict(
            crop_size=crop_size,
            short_side=short_side,
            num_train=num_train,
            num_test=num_test,
        )
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(
                    f"BundledPhotos's {name} must be at least 1, got {value!r}"
                )
        if seed < 0:
            raise ValueError(f"BundledPhotos's seed must not be negative, got {seed!r}")
        if short_side * 2 // 5 < crop_size:
            raise ValueError(
                f'A crop_size of {crop_size} does not fit into the right 40% of a '
                f'photograph of BundledPhotos with short_side={short_side}: use at '
                f'most {short_side * 2 // 5}, or a larger short_side'
            )
        self.split = split
        self.crop_size = crop_size
        self.short_side = short_side
        self.num_crops = num_train if split == 'train' else num_test
        self.seed = seed
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the records of all crops, photograph by photograph."""
        records = []
        for label, name in enumerate(PHOTO_NAMES):
            photo = load_photo(name, self.short_side)
            height, width = photo.shape[:2]
            # In whole numbers: the left part rounded down, the right one up.
            if self.split == 'train':
                first, end = 0, width * 3 // 5
            else:
                first, end = -(-width * 3 // 5), width
            rng = np.random.default_rng([self.seed, label, int(self.split == 'test')])
            tops = rng.integers(height - self.crop_size + 1, size=self.num_crops)
            lefts = rng.integers(first, end - self.crop_size + 1, size=self.num_crops)
            for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
                crop = photo[top : top + self.crop_size, left : left + self.crop_size]
                records.append(
                    dict(
                        img=np.ascontiguousarray(crop[..., ::-1]),
                        gt_label=label,
                        img_path=f'{name}#{i}',
                    )
                )
        return records

    def extra_repr(self) -> list[str]:
        """Say which crops these are, in ``repr``."""
        return [
            f'Split: \t{self.split}',
            f'Crops: \t{self.crop_size} px of photographs with a shorter side of '
            f'{self.short_side} px, seed {self.seed}',
        ]
