"""Pictures of all layers of vision transformers."""

import numpy as np
import torch

from esvit_plugin.evaluation import AttentionSpread
from esvit_plugin.visualization import draw_attention_spread, draw_cka


def test_the_heat_map_has_the_first_models_layers_as_rows_from_below():
    cka = torch.rand(3, 5, dtype=torch.float64)
    axis, bar = draw_cka(cka, 'mae', 'deit').axes
    (image,) = axis.get_images()
    np.testing.assert_array_equal(image.get_array(), cka)
    assert image.get_clim() == (0, 1) and image.origin == 'lower'
    assert axis.get_ylabel() == 'mae: after block'
    assert axis.get_xlabel() == 'deit: after block'
    assert [len(ticks) for ticks in (axis.get_yticks(), axis.get_xticks())] == [3, 5]
    assert bar.get_ylabel() == 'CKA'


def test_every_head_is_a_dot_at_its_block():
    distance, entropy = 100 * torch.rand(2, 3), torch.rand(2, 3)
    spread = AttentionSpread(distance, entropy, (117.0, 5.3), (14, 14), 2)
    figure = draw_attention_spread(spread, 'mae, 2 images')
    assert figure.get_suptitle() == 'mae, 2 images'
    pairs = zip(figure.axes, (distance, entropy), spread.uniform, strict=True)
    for axis, values, alike in pairs:
        dots = np.concatenate([c.get_offsets() for c in axis.collections])
        expected = [[i + 1, float(v)] for i in range(2) for v in values[i]]
        np.testing.assert_allclose(dots, expected)
        mean, uniform = axis.get_lines()
        np.testing.assert_allclose(mean.get_ydata(), values.mean(1))
        assert set(uniform.get_ydata()) == {alike}
        assert axis.get_ylim()[0] == 0
        assert axis.get_ylim()[1] > max(alike, float(values.max()))
    assert 'pixels' in figure.axes[0].get_ylabel()
    assert 'nats' in figure.axes[1].get_ylabel()
