"""Entropy and mass of attention whose distribution is known."""

import itertools
import math

import pytest
import torch
from support.backbones import BACKBONES
from support.frozen import frozen, noise_images

from esvit_plugin.evaluation import BlockAttention, head_entropy, mass_mask
from esvit_plugin.evaluation.attention_statistics import image_entropy


def test_entropy_is_that_of_the_distribution():
    uniform = torch.full((16, 16), 1 / 16)
    one_hot = torch.eye(16)
    window = torch.block_diag(*[torch.full((4, 4), 1 / 4)] * 4)
    half = (uniform + one_hot) / 2
    weights = torch.stack([uniform, one_hot, window, half])
    found = head_entropy(BlockAttention(torch.stack([weights, weights]), 0, (4, 4)))
    p, q = 0.5 + 1 / 32, 1 / 32
    known = [
        math.log(16),
        0,
        math.log(4),
        -p * math.log(p) - 15 * q * math.log(q),
    ]
    assert found.shape == (2, 4)
    for row in found.tolist():
        assert row == pytest.approx(known)


def test_the_class_token_is_a_query_too():
    weights = torch.zeros(1, 1, 5, 5)
    weights[..., 0, :] = 1 / 5
    weights[..., 1:, 0] = 1
    found = head_entropy(BlockAttention(weights, 1, (2, 2)))
    assert found.item() == pytest.approx(math.log(5) / 5)


def test_what_padding_took_does_not_count():
    whole = torch.full((1, 1, 4, 4), 1 / 4)
    rest = 0.25 * whole
    found = [head_entropy(BlockAttention(w, 0, (2, 2))) for w in (whole, rest)]
    torch.testing.assert_close(*found)
    nothing = head_entropy(BlockAttention(0 * whole, 0, (2, 2)))
    assert nothing.item() == 0


def test_a_mask_by_hand():
    weights = torch.tensor([[0.1, 0.35, 0.05], [0.3, 0.0, 0.2]])
    masks = {
        0.3: [[0, 1, 0], [0, 0, 0]],
        0.6: [[0, 1, 0], [1, 0, 0]],
        0.7: [[0, 1, 0], [1, 0, 1]],
        0.95: [[1, 1, 0], [1, 0, 1]],
        1: [[1, 1, 1], [1, 0, 1]],
    }
    for mass, mask in masks.items():
        assert mass_mask(weights, mass).int().tolist() == mask, mass
        # The share is of what there is.
        assert mass_mask(3 * weights, mass).int().tolist() == mask, mass
    assert mass_mask(weights).int().tolist() == masks[0.6]
    assert mass_mask(torch.full((2, 5), 0.1)).sum() == 6


def test_masks_are_the_smallest_ones():
    weights = torch.rand(2, 3, 2, 3).softmax(-1)
    found = mass_mask(weights, 0.6)
    for plane, mask in zip(weights.flatten(0, 1), found.flatten(0, 1), strict=True):
        share = 0.6 * plane.sum()
        assert plane[mask].sum() >= share
        smaller = itertools.combinations(plane.flatten().tolist(), int(mask.sum()) - 1)
        assert all(sum(values) < share for values in smaller)


@pytest.mark.parametrize('mass', [0, 1.1, float('nan')])
def test_a_share_outside_is_refused(mass):
    with pytest.raises(ValueError, match=rf'mass must lie in \(0, 1\], got {mass}'):
        mass_mask(torch.ones(2, 2), mass)


def test_images_of_a_size_that_the_backbone_does_not_take():
    fixed = {**BACKBONES['TIMMBackbone'][0], 'dynamic_img_size': False}
    with pytest.raises(ValueError, match='does not take images of 96 x 96 px'):
        image_entropy(frozen(fixed), noise_images(1, 96))
