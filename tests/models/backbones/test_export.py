"""Backbones leave Python: torch.jit.trace, torch.export, torch.onnx."""

import pytest
import torch
from support.backbones import BACKBONES, SHIFTED, build

from esvit_plugin.models.layers import chunk_layout, window_layout
from esvit_plugin.models.layers.layout_cache import computed_once

pytestmark = pytest.mark.slow

# Maps of whole windows, and padded ones.
CASES = [
    *((BACKBONES[name][0], size) for name in ('EsViTSwin', 'ViL') for size in (64, 40)),
    (BACKBONES['CvT'][0], 40),
    (SHIFTED, 136),
]
IDS = [f'{cfg["type"]}-{size}' for cfg, size in CASES]


@pytest.fixture(autouse=True)
def no_layouts():
    """Nothing is kept from other tests: the first call of a size counts."""
    for module in (chunk_layout, window_layout):
        for function in vars(module).values():
            if hasattr(function, 'cache_clear') and hasattr(function, '__wrapped__'):
                function.cache_clear()


def check_eager(backbone, images, expected):
    """The backbone itself still computes the same, with gradients."""
    found = backbone(images)[-1]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    found.sum().backward()
    assert all(param.grad is not None for param in backbone.stages.parameters())


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(('cfg', 'size'), CASES, ids=IDS)
def test_a_traced_backbone_is_saved_and_loaded(tmp_path, cfg, size):
    backbone = build(cfg)
    file = str(tmp_path / 'backbone.pt')
    # As users do: with gradients, and nothing computed before.
    torch.jit.trace(backbone, torch.randn(2, 3, size, size)).save(file)
    loaded = torch.jit.load(file)
    for number in (2, 3):
        images = torch.randn(number, 3, size, size)
        found = loaded(images)[-1].detach()
        check_eager(backbone, images, found)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(('cfg', 'size'), CASES, ids=IDS)
def test_an_exported_backbone_computes_the_same(cfg, size):
    backbone = build(cfg)
    images = torch.randn(2, 3, size, size)
    program = torch.export.export(backbone, (images,), strict=False)
    images = torch.randn(2, 3, size, size)
    check_eager(backbone, images, program.module()(images)[-1].detach())


def test_layouts_are_computed_once_even_under_a_tracer():
    calls = []

    @computed_once
    def squares(size, device):
        calls.append(size)
        return torch.arange(size).square().to(device)

    def add(x):
        return x + squares(x.shape[0], x.device)

    with torch.inference_mode():
        kept = squares(3, torch.device('cpu'))
    assert not kept.is_inference()
    traced = torch.jit.trace(add, torch.zeros(3))
    assert 'aten::square' not in str(traced.graph)
    program = torch.export.export(squares_of(squares), (torch.zeros(4),), strict=False)
    assert program.module()(torch.ones(4)).tolist() == [1, 2, 5, 10]
    assert squares(4, torch.device('cpu')).tolist() == [0, 1, 4, 9]
    assert calls == [3, 4]


def squares_of(squares):
    class Add(torch.nn.Module):
        def forward(self, x):
            return x + squares(x.shape[0], x.device)

    return Add()
