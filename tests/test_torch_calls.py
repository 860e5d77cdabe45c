"""Torch's undocumented calls do what this package takes them for."""

import re

import pytest
import torch
import torch.nn.functional as F
from support.paths import ROOT

from esvit_plugin import torch_calls

PRIVATE = re.compile(r'\btorch\.(?:_|ops\.|\w+\._)(?!dynamo)')


def test_all_of_them_stand_in_one_place():
    found = {
        path.relative_to(ROOT / 'esvit_plugin').as_posix()
        for path in (ROOT / 'esvit_plugin').rglob('*.py')
        if PRIVATE.search(path.read_text())
    }
    assert found == {'torch_calls.py'}


def tensors():
    return [torch.randn(shape) for shape in ((3, 4), (5,), (2, 1, 3))]


def test_norms_of_many_tensors():
    many = tensors()
    for norm, x in zip(torch_calls.foreach_norm(many), many, strict=True):
        torch.testing.assert_close(norm, x.square().sum().sqrt())


@pytest.mark.parametrize('of_tensors', [False, True])
def test_many_tensors_are_scaled_in_place(of_tensors):
    many = tensors()
    factors = torch.tensor([0.5, 2.0, 0.0])
    expected = [x * (f if of_tensors else 0.5) for x, f in zip(many, factors)]
    torch_calls.foreach_mul_(many, list(factors.unbind()) if of_tensors else 0.5)
    torch.testing.assert_close(many, expected)
    # By one number that the device has.
    torch_calls.foreach_mul_(many, torch.tensor(3.0))
    torch.testing.assert_close(many, [3 * x for x in expected])


def test_many_tensors_are_added_and_bounded():
    many, others = tensors(), tensors()
    expected = [x + 0.3 * y for x, y in zip(many, others)]
    torch_calls.foreach_add_(many, others, alpha=0.3)
    torch.testing.assert_close(many, expected)
    bounded = list(torch_calls.foreach_clamp_max(many, 0.2))
    torch.testing.assert_close(many, expected)
    torch_calls.foreach_clamp_min_(bounded, -0.1)
    torch.testing.assert_close(bounded, [x.clamp(-0.1, 0.2) for x in expected])


def test_weights_are_normalised_row_by_row():
    weight = torch.randn(6, 4, requires_grad=True)
    gain = torch.rand(6, 1, requires_grad=True)
    ours = torch_calls.weight_norm(weight, gain, 0)
    plain = gain * weight / weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(ours, plain)
    grad = torch.randn(6, 4)
    for mine, other in zip(
        torch.autograd.grad(ours, [weight, gain], grad),
        torch.autograd.grad(plain, [weight, gain], grad),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
def test_attention_with_the_sums_of_its_softmax(dtype):
    query, key, value, bias = (
        torch.randn(shape).to(dtype)
        for shape in ((2, 3, 5, 8), (2, 3, 6, 8), (2, 3, 6, 8), (3, 5, 6))
    )
    out, log_sums = torch_calls.cpu_attention(
        query, key, value, attn_mask=bias.unsqueeze(0), scale=0.3
    )
    exact = [x.double() for x in (query, key, value, bias)]
    scores = 0.3 * exact[0] @ exact[1].transpose(-2, -1) + exact[3]
    half = dict(rtol=0.01, atol=0.01) if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(out, (scores.softmax(-1) @ exact[2]).to(dtype), **half)
    # Sums are in single precision or better.
    sums_dtype = torch.promote_types(dtype, torch.float32)
    assert log_sums.dtype == sums_dtype
    near = dict(rtol=1e-4, atol=1e-4) if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(log_sums, scores.logsumexp(-1).to(sums_dtype), **near)


def test_backward_of_softmax():
    scores = torch.randn(3, 5, requires_grad=True)
    weights, grad = scores.softmax(-1), torch.randn(3, 5)
    ours = torch_calls.softmax_backward(grad, weights, -1, weights.dtype)
    torch.testing.assert_close(ours, torch.autograd.grad(weights, scores, grad)[0])


@pytest.mark.parametrize(
    ('activation', 'backward'),
    [(F.gelu, torch_calls.gelu_backward), (F.silu, torch_calls.silu_backward)],
)
def test_backward_of_activations(activation, backward):
    x, grad = torch.randn(4, 7, requires_grad=True), torch.randn(4, 7)
    expected = torch.autograd.grad(activation(x), x, grad)[0]
    torch.testing.assert_close(backward(grad, x), expected)
    # In place of the gradient, as it is used.
    buffer = grad.clone()
    backward(buffer, x.detach(), grad_input=buffer)
    torch.testing.assert_close(buffer, expected)


def test_instructions_for_bfloat16_are_told():
    assert torch_calls.cpu_has_bfloat16() in (True, False)
