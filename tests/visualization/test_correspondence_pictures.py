"""Pictures of corresponding regions."""

import matplotlib.image
import numpy as np
import pytest
import torch

from esvit_plugin.evaluation import ViewPair, best_matches
from esvit_plugin.evaluation.correspondence import Matches, is_right
from esvit_plugin.evaluation.view_pairs import MIRRORED, Placement
from esvit_plugin.visualization import draw_correspondence, plot_correspondence

VIEWS = (np.zeros((40, 40, 3), np.uint8),) * 2
GRID = (4, 4)


def matches(*pairs, place=MIRRORED):
    index = torch.tensor(pairs)
    if place is None:
        return Matches(index, 0.5, None, None, GRID)
    return Matches(index, 0.5, is_right(index, GRID, GRID, place), 7.4, GRID)


def drawn(figure, row=0):
    """Colour, style and ends of each line."""
    return [
        (line.get_color(), line.get_linestyle(), line.get_marker(), line.get_xydata())
        for line in figure.axes[row].lines
    ]


def key(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_picture_of_two_images_has_no_right_and_wrong():
    pair = ViewPair(['a/moon.png', 'coffee'], VIEWS, None)
    figure = draw_correspondence(pair, [('teacher', matches([0, 3], place=None))])
    assert key(figure) == ['match']
    axis = figure.axes[0]
    assert axis.get_title() == 'teacher: mean similarity 0.50'
    assert [text.get_text() for text in axis.texts] == ['moon', 'coffee']


def test_the_most_similar_pairs_come_first():
    target = torch.eye(3)
    source = torch.tensor([[0.2, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 1.0]])
    assert best_matches(source, target, 2).tolist() == [[1, 0], [0, 1]]


def test_right_and_wrong_differ_in_colour_and_style(tmp_path):
    pair = ViewPair(['moon'], VIEWS, MIRRORED)
    rows = [('a', matches([0, 3], [4, 7])), ('b', matches([0, 0]))]
    figure = draw_correspondence(pair, rows)
    assert figure.axes[0].get_title() == (
        'a: 2 of 2 at the true place, 7 px away on average, mean similarity 0.50'
    )
    assert key(figure) == ['right: the same place', 'wrong: another place']
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ['moon', 'its mirrored grey copy']
    right, wrong = drawn(figure)[0], drawn(figure, 1)[0]
    assert all(one != other for one, other in zip(right[:3], wrong[:3], strict=True))
    # The centres of the first region and of the last in the row, 2 px apart.
    assert wrong[3] == pytest.approx(np.array([[5, 5], [47, 5]]))
    assert right[3][:, 0] == pytest.approx([5, 77])
    plot_correspondence(str(tmp_path / 'match.png'), pair, rows)
    picture = matplotlib.image.imread(tmp_path / 'match.png')[..., :3]
    upper, lower = np.array_split(picture[: int(0.9 * len(picture))], 2)
    for color, parts in (((86, 180, 233), (1, 0)), ((230, 159, 0), (0, 1))):
        for part, there in zip((upper, lower), parts, strict=True):
            distance = np.abs(255 * part - np.array(color)).max(-1)
            assert (distance < 12).any() == bool(there)


def test_coincident_matches_are_all_visible():
    crop = Placement(0, 0, 0.5, 0.5)
    pair = ViewPair(['moon'], VIEWS, crop)
    # One target, and one line of three.
    found = matches([0, 3], [1, 3], [2, 3], [5, 3], place=crop)
    figure = draw_correspondence(pair, [('a', found)])
    assert figure.axes[0].texts[1].get_text() == 'an augmented crop of it'
    lines = [ends for *_, ends in drawn(figure)]
    heights = [ends[1, 1] for ends in lines]
    assert min(np.diff(heights)) >= 1 and 0 < heights[0] < heights[-1] < 10
    # Both ends of a line are moved alike, and stay in their regions.
    for ends, (first, _) in zip(lines, found.pairs.tolist(), strict=True):
        assert ends[0, 1] - ends[1, 1] == pytest.approx(10 * (first // 4))
