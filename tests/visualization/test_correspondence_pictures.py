"""Pictures of corresponding regions."""

import matplotlib.image
import numpy as np
import torch

from esvit_plugin.evaluation import (
    best_matches,
)
from esvit_plugin.visualization import plot_correspondence


def test_the_picture_of_two_images_has_no_right_and_wrong(tmp_path):
    path = tmp_path / 'match.png'
    images = (np.zeros((40, 40, 3), np.uint8),) * 2
    pairs = torch.tensor([[0, 3]])
    plot_correspondence(str(path), images, (4, 4), [('a', pairs)], place=None)
    picture = matplotlib.image.imread(path)[..., :3]
    blue = np.array([0, 0.75, 1])
    assert (np.abs(picture - blue).max(-1) < 0.05).any()
    assert not (np.abs(picture - [1, 0, 0]).max(-1) < 0.05).any()


def test_the_most_similar_pairs_come_first():
    target = torch.eye(3)
    source = torch.tensor([[0.2, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 1.0]])
    assert best_matches(source, target, 2).tolist() == [[1, 0], [0, 1]]


def test_the_picture_shows_right_and_wrong_matches(tmp_path):
    path = tmp_path / 'match.png'
    images = (np.zeros((40, 40, 3), np.uint8),) * 2
    right, wrong = torch.tensor([[0, 3]]), torch.tensor([[0, 0]])
    plot_correspondence(str(path), images, (4, 4), [('a', right), ('b', wrong)])
    picture = matplotlib.image.imread(path)[..., :3]
    upper, lower = np.array_split(picture, 2)

    def is_drawn(part, color):
        return bool((np.abs(part - np.array(color)).max(-1) < 0.05).any())

    assert is_drawn(upper, (0, 1, 0)) and not is_drawn(upper, (1, 0, 0))
    assert is_drawn(lower, (1, 0, 0)) and not is_drawn(lower, (0, 1, 0))
