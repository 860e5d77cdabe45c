import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from esvit_plugin.models import DINOProjection


def small(**kwargs):
    options = dict(
        in_channels=12, out_channels=20, hidden_channels=16, bottleneck_channels=8
    )
    return DINOProjection(**{**options, **kwargs})


@pytest.mark.parametrize('num_layers', [1, 2, 3])
def test_equals_torch_weight_norm(num_layers):
    neck = small(num_layers=num_layers).double()
    nn.init.normal_(neck.last_layer.weight_g)
    last = weight_norm(nn.Linear(8, 20, bias=False).double())
    last.parametrizations.weight.original0.data.copy_(neck.last_layer.weight_g)
    last.parametrizations.weight.original1.data.copy_(neck.last_layer.weight_v)
    x = torch.randn(5, 12, dtype=torch.float64)
    expected = last(F.normalize(neck.mlp(x), dim=1))
    torch.testing.assert_close(neck(x), expected)
    torch.testing.assert_close(neck.project(x) @ neck.prototypes().T, expected)
    expected.square().sum().backward()
    theirs = [p.grad for p in last.parameters()]
    neck.zero_grad()
    neck(x).square().sum().backward()
    torch.testing.assert_close(neck.last_layer.weight_g.grad, theirs[0])
    torch.testing.assert_close(neck.last_layer.weight_v.grad, theirs[1])


def test_starts_as_in_the_paper():
    neck = DINOProjection(in_channels=96, out_channels=512)
    linears = [m for m in neck.mlp if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linears] == [2048, 2048, 256]
    for linear in linears:
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not linear.bias.any()
    assert (neck.last_layer.weight_g == 1).all()
    norms = neck.prototypes().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_norm_last_layer_fixes_the_gain():
    assert small().last_layer.weight_g.requires_grad
    assert not small(norm_last_layer=True).last_layer.weight_g.requires_grad


def test_stays_finite_under_autocast():
    neck = small()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert neck.project(torch.randn(4, 12) * 1e4).dtype == torch.float32
        assert neck(torch.zeros(4, 12)).isfinite().all()


@pytest.mark.parametrize('name', ['in_channels', 'out_channels', 'num_layers'])
def test_bad_options_are_refused(name):
    with pytest.raises(ValueError, match=f'{name} must be >= 1, got 0'):
        small(**{name: 0})


def test_matches_the_authors_program(golden):
    from golden import fill, normal

    shapes = json.loads((golden / 'head.json').read_text())
    neck = DINOProjection(in_channels=96, out_channels=512)
    neck.load_state_dict(fill(shapes), strict=True)
    with torch.no_grad():
        out = neck(normal(0, 'head-in', (5, 96)))
    np.testing.assert_allclose(out, np.load(golden / 'head.npz')['out'], atol=1e-4)
