"""Names of files in pictures, and in names of pictures."""

import numpy as np
import pytest
import torch
from support.backbones import BACKBONES, build

from esvit_plugin.evaluation import ViewPair, last_attention
from esvit_plugin.evaluation.correspondence import Matches
from esvit_plugin.visualization import (
    draw_attention,
    draw_correspondence,
    draw_curves,
    draw_embedding,
)
from esvit_plugin.visualization.figures import (
    figure_image,
    figure_text,
    picture_name,
)
from esvit_plugin.visualization.neighbours import Neighbours, draw_neighbours
from esvit_plugin.visualization.views import SampleViews, draw_views

# A formula that cannot be read, and bytes that are no UTF-8.
NAMES = [r'a$\x{$', 'b\udce4']
IMAGE = np.zeros((64, 64, 3), np.uint8)


def attention(name):
    model = build(BACKBONES['DeiT'][0])
    found = last_attention(model, torch.randn(1, 3, 64, 64))
    return draw_attention(IMAGE, found, ['cls'], title=name)


def correspondence(name):
    matches = Matches(torch.tensor([[0, 3]]), 0.5, None, None, (4, 4))
    return draw_correspondence(
        ViewPair([name, name], (IMAGE,) * 2, None), [(name, matches)]
    )


PICTURES = {
    'attention': attention,
    'correspondence': correspondence,
    'curves': lambda name: draw_curves({name: {name: [(0, 1)], 'b': [(0, 1)]}}),
    'embedding': lambda name: draw_embedding(np.eye(2), [name, 'b'], name),
    'neighbours': lambda name: draw_neighbours([Neighbours(name, [name], [0.5])]),
    'views': lambda name: draw_views([SampleViews(name, IMAGE, [('view', IMAGE)])]),
}


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', PICTURES)
def test_pictures_have_names_of_any_kind(kind, name):
    assert np.ptp(figure_image(PICTURES[kind](name))) > 0


def test_the_text_is_what_is_drawn():
    figure = draw_embedding(np.eye(2), ['a', 'b'], 'from 5$ to 6$')
    plain = draw_embedding(np.eye(2), ['a', 'b'], 'from 5S to 6S')
    figure_image(figure)
    box, other = (f.axes[0].title.get_window_extent().width for f in (figure, plain))
    assert box == pytest.approx(other, rel=0.1)
    assert figure_text('two\nlines') == 'two\nlines'


def test_labels_that_begin_with_an_underscore_stand_in_the_legend():
    figure = draw_embedding(np.eye(3)[:, :2], ['_a', 'b', '_c'])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ['_a', '_c', 'b']


def test_names_of_pictures_fit_into_a_file_system(tmp_path):
    for name in ('a' * 255, 'ä' * 127, 'b\udce4'):
        cut = picture_name(name)
        (tmp_path / f'correspondence_0_{cut}.part.png').touch()
        assert cut.startswith(name[0]) and len(cut.encode()) <= 150
    assert picture_name('astronaut') == 'astronaut'
