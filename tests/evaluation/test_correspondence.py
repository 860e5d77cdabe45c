import matplotlib.image
import numpy as np
import pytest
import torch

from esvit_plugin.evaluation import best_matches, match_accuracy, plot_correspondence


def test_a_mirrored_map_corresponds_everywhere():
    source = torch.randn(4, 5, 8)
    assert match_accuracy(source, source.flip(1), 20) == (100.0, 0.0)


def test_errors_count_in_grid_steps():
    # One distinct feature per position; the copy is mirrored, then one row too low.
    source = torch.eye(12).view(3, 4, 12)
    shifted = source.flip(1).roll(1, 0)
    accuracy, error = match_accuracy(source, shifted, 12)
    assert accuracy == 0
    assert error == pytest.approx((8 * 1 + 4 * 2) / 12)  # the last row wraps around


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
