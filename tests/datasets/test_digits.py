"""The digits of scikit-learn."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from esvit_plugin.datasets import Digits


def test_digits():
    images, labels = load_digits(return_X_y=True)
    parts = [Digits(split=split) for split in ('train', 'test')]
    assert [len(part) for part in parts] == [1200, 597]
    assert np.concatenate([part.get_gt_labels() for part in parts]).tolist() == (
        labels.tolist()
    )
    record = parts[1].get_data_info(5)
    assert record['img'].dtype == np.uint8 and record['img'].shape == (8, 8)
    assert np.abs(record['img'].ravel() - images[1205] * 255 / 16).max() <= 0.5
    with pytest.raises(ValueError, match="Digits's split must be .*'val'"):
        Digits(split='val')
