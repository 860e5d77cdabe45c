import pytest
import torch

from esvit_plugin.models import plain_twins
from esvit_plugin.models.layers import biased_attention as module
from esvit_plugin.models.layers.biased_attention import biased_attention


def tensors(num_queries, num_keys):
    shapes = [(3, 2, num_queries, 4), *[(3, 2, num_keys, 4)] * 2]
    shapes.append((2, num_queries, num_keys))
    return [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]


def assert_equal(inputs, mask):
    """Outputs and gradients are the plain twin's."""
    *rest, bias = inputs
    bias = bias.masked_fill(mask, -torch.inf)
    ours = biased_attention(*rest, bias, 0.7)
    with plain_twins():
        expected = biased_attention(*rest, bias, 0.7)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weight).sum(), inputs, retain_graph=True),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize('elements', [1, 60, 10**6])  # parts of one, two, all images
def test_gradients_in_parts(elements, monkeypatch):
    monkeypatch.setattr(module, 'PART_ELEMENTS', elements)
    assert_equal(tensors(3, 5), torch.tensor([False, True, False, False, True]))


def test_masked_keys_may_fill_whole_blocks_of_the_fused_kernel():
    mask = torch.zeros(4, 1500, dtype=torch.bool)
    mask[1, :1200] = mask[2, 300:] = mask[3, 1:-1] = True
    assert_equal(tensors(4, 1500), mask)


def test_channels_of_a_head_may_have_gaps():
    query, key, value, bias = (
        x.detach().mT.contiguous().mT.requires_grad_() for x in tensors(3, 5)
    )
    assert query.stride(-1) != 1
    mask = torch.tensor([False, True, False, False, True])
    assert_equal([query, key, value, bias], mask)


def test_the_plain_twin_is_the_formula():
    query, key, value, bias = tensors(3, 5)
    with plain_twins():
        actual = biased_attention(query, key, value, bias, 0.7)
    scores = torch.einsum('bhnd,bhmd->bhnm', query, key) * 0.7 + bias
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(actual, torch.einsum('bhnm,bhmd->bhnd', weights, value))


def test_weights_are_not_kept():
    query, key, value, bias = tensors(50, 60)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        biased_attention(query, key, value, bias, 0.5)
    assert max(x.numel() for x in kept) < 3 * 2 * 50 * 60


@pytest.mark.parametrize('size', [1, 4])  # the larger, the fewer keys that matter
def test_half_precision_is_near_float32_and_keeps_no_weights(size):
    half = [(size * x).detach().bfloat16().requires_grad_() for x in tensors(50, 60)]
    exact = [x.detach().float().requires_grad_() for x in half]
    weight = torch.randn(3, 2, 50, 4)
    found, kept = [], []
    for inputs in (exact, half):
        with (
            torch.autograd.graph.saved_tensors_hooks(
                lambda x: kept.append(x.numel()) or x, lambda x: x
            ),
            torch.autocast('cpu', enabled=inputs is half),
        ):
            out = biased_attention(*inputs, 0.5)
        (out.float() * weight).sum().backward()
        found.append([out, *(x.grad for x in inputs)])
    assert max(kept) < 3 * 2 * 50 * 60
    for mine, other in zip(found[1], found[0], strict=True):
        assert mine.dtype == torch.bfloat16
        error = (mine.float() - other).norm() / other.norm()
        assert error < 0.01
