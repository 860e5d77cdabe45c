"""Pictures of attention."""

import numpy as np
import pytest
import torch
from support.backbones import BACKBONES, SHIFTED, build

from esvit_plugin.evaluation import last_attention, mass_mask
from esvit_plugin.visualization import draw_attention
from esvit_plugin.visualization.figures import figure_image


def test_the_picture_has_the_heads_in_order_or_their_masks():
    found = last_attention(build(BACKBONES['DeiT'][0]), torch.randn(1, 3, 64, 64))
    image = np.full((64, 64, 3), 255, np.uint8)
    figures = [
        draw_attention(
            image, found, ['cls'], heads=[1, 0], entropy=[2.5, 1.25], mass=mass
        )
        for mass in (None, 0.6)
    ]
    for figure in figures:
        titles = [text.get_text() for text in figure.axes[0].texts]
        heads = ['head 2: 1.25 nats', 'head 1: 2.50 nats']
        assert titles == ['class token', 'mean of the heads', *heads]
    axis = figures[1].axes[0]
    canvas = axis.get_images()[0].get_array()
    masks = mass_mask(found.of_query('cls')[0])
    for text, head in zip(axis.texts[2:], (1, 0), strict=True):
        x, y = (int(z) for z in text.get_position())
        picture = canvas[y + 5 : y + 5 + 224, x - 112 : x + 112, 0]
        cells = picture.reshape(4, 56, 4, 56)
        # White inside the mask, covered outside.
        assert np.ptp(cells, axis=(1, 3)).max() < 1e-6
        assert ((cells[:, 0, :, 0] > 0.9) == masks[head].numpy()).all()
        assert cells.min() == pytest.approx(0.3 + 0.7 * 0.35)


def test_the_picture_is_bright_where_a_head_looks():
    found = last_attention(build(SHIFTED), torch.randn(1, 3, 256, 256))
    image = np.full((256, 256, 3), 90, np.uint8)
    figure = draw_attention(image, found, [(0, 0), (7, 7)], max_columns=2)
    # Per query: the image, the mean and four heads on two lines.
    axis, bar = figure.axes
    heads = ['mean of the heads', 'head 1', 'head 2', 'head 3', 'head 4']
    titles = [text.get_text() for text in axis.texts]
    assert titles == ['query 0,0', *heads, 'query 7,7', *heads]
    canvas = axis.get_images()[0].get_array()
    for number, (rows, cols) in ((1, (0, 0)), (7, (6, 6))):
        # The cell below the title 'mean'.
        x, y = (int(z) for z in axis.texts[number].get_position())
        picture = canvas[y + 5 : y + 5 + 224, x - 112 : x + 112]
        frame = (picture == [0, 1, 1]).all(-1)
        assert frame[rows // 6 * 196 : rows // 6 * 196 + 28].sum() == 4 * 2 * 26
        picture = np.where(frame, 0, picture.sum(-1))
        cell = len(picture) / 8
        top, left = (int(np.argmax(picture.max(axis)) // cell) for axis in (1, 0))
        weights = found.of_query((rows // 6 * 7, cols // 6 * 7))[0].mean(0)
        # A corner lies in a shifted window of 2x2 positions, the rest of it is dark.
        assert divmod(int(weights.argmax()), 8) == (top, left)
        assert rows <= top < rows + 2 and cols <= left < cols + 2
        far = picture[round(3 * cell) : round(5 * cell)]
        assert far.min() == far.max() == picture[~frame].min()
    assert figure_image(figure).std() > 20


def test_the_picture_says_what_it_shows():
    found = last_attention(build(BACKBONES['DeiT'][0]), torch.randn(1, 3, 64, 64))
    image = np.full((64, 64, 3), 255, np.uint8)
    for mass, scale in (
        (None, 'attention, from 0 to the highest of each map'),
        (0.6, 'Uncovered: the fewest positions that hold 60 % of the attention.'),
    ):
        figure = draw_attention(
            image, found, ['cls', (1, 2)], entropy=[1, 2], mass=mass, title='moon'
        )
        notes = [text.get_text() for text in figure.texts]
        assert notes[0] == scale
        assert 'framed in cyan (row,column of 4 × 4, from 0,0), or the' in notes[1]
        assert notes[2].startswith('nats: entropy of a head')
        assert figure.axes[0].texts[-1].get_text() == 'moon'
        # The colour scale stands below all cells.
        bars = figure.axes[1:]
        assert len(bars) == (mass is None)
        canvas = figure.axes[0].get_images()[0].get_array()
        shape = canvas.shape[0], canvas.shape[1]
        assert figure_image(figure).shape[:2] == shape
        for artist in (*figure.texts, *bars):
            box = artist.get_window_extent()
            assert box.y1 < shape[0] - np.argwhere((canvas < 1).any((1, 2))).max()
            assert box.x1 < shape[1]
    plain = draw_attention(image, found, [(1, 2)])
    assert 'class token' not in plain.texts[1].get_text()
    assert not plain.texts[2].get_text()
