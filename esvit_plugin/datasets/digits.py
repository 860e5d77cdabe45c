"""Handwritten digits that come with scikit-learn."""

from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from .array_dataset import ArrayDataset
from .transfer import check_split

NUM_TRAIN = 1200


@DATASETS.register_module()
class Digits(ArrayDataset):
    """1797 digits of 8 x 8 px, grey, for a transfer evaluation without a download.

    Not shuffled before it is split, as digits of one writer follow each other. Records
    have ``img``, for ``ArrayToBGR``, and ``gt_label``.

    Args:
        split: 'train' (default; the first 1200) or 'test' (the others).
        **kwargs: Others of mmpretrain's ``BaseDataset``.

    Raises:
        ImportError: If scikit-learn is missing.
        ValueError: If the split is unknown.
    """

    def __init__(self, split: str = 'train', **kwargs: Any) -> None:
        self.split = check_split('Digits', split, ('train', 'test'))
        super().__init__(ann_file='', **kwargs)

    def load_rows(self) -> int:
        """Take the images and labels of the split."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError(
                'Digits come with scikit-learn, which is not installed: '
                'pip install "esvit_plugin[demo]"'
            ) from error
        part = slice(NUM_TRAIN) if self.split == 'train' else slice(NUM_TRAIN, None)
        images, labels = load_digits(return_X_y=True)
        # 16 grey levels and black.
        self.images = np.round(images[part] * (255 / 16)).astype(np.uint8)
        self.labels = labels[part]
        return len(self.labels)

    def make_record(self, row: int) -> dict[str, Any]:
        """Return the image and label of one row."""
        return dict(img=self.images[row].reshape(8, 8), gt_label=self.gt_label(row))
