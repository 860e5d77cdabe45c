"""Feed-forward networks that keep less, against their layers."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from support.gradients import run, run_plain

from esvit_plugin.models.layers.residual import activation_linear, feed_forward


@pytest.mark.parametrize('name', ['gelu', 'silu'])
@pytest.mark.parametrize('bias', [True, False])
def test_activation_linear(bias, name):
    linear = torch.nn.Linear(6, 3, bias=bias).double()
    activation = dict(gelu=torch.nn.GELU, silu=torch.nn.SiLU)[name]()
    plain = torch.nn.Sequential(activation, linear)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    ours = torch.nn.Module()
    ours.linear = linear
    ours.forward = lambda x: activation_linear(x, linear.weight, linear.bias, name)
    results = run(ours, x), run_plain(ours, x), run(plain, x)
    for result, twin, other in zip(*results, strict=True):
        torch.testing.assert_close(result, other)
        torch.testing.assert_close(twin, other)
    narrow = x.float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = run(ours.float(), narrow)
    for mine, other in zip(result, run(plain.float(), narrow), strict=True):
        torch.testing.assert_close(mine.float(), other, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(('dtype', 'copies'), [(torch.float32, 1), (torch.bfloat16, 2)])
def test_what_is_kept_for_the_backward_pass(dtype, copies):
    """In bfloat16 a CPU keeps the activation, too."""
    x = torch.randn(4, 50, 6, dtype=dtype, requires_grad=True)
    weight = torch.randn(3, 6, dtype=dtype, requires_grad=True)
    kept = set()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.add(t.data_ptr()) if t.numel() == x.numel() else None, t)[1],
        lambda t: t,
    ):
        activation_linear(x, weight, None, 'gelu').sum().backward()
    assert len(kept) == copies


@pytest.mark.parametrize(
    'activation',
    [
        dict(type='GELU'),
        dict(type='GELU', approximate='tanh'),
        dict(type='mmpretrain.QuickGELU'),
        dict(type='ReLU'),
    ],
)
def test_feed_forward_equals_mmcvs_layers(activation):
    ffn = FFN(6, 8, act_cfg=activation).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    ours = torch.nn.Module()
    ours.layers = ffn.layers
    ours.forward = lambda x: feed_forward(ffn, x)
    results = run(ours, x), run_plain(ours, x), run(ffn.layers, x)
    for result, twin, other in zip(*results, strict=True):
        torch.testing.assert_close(result, other)
        assert torch.equal(twin, other)
