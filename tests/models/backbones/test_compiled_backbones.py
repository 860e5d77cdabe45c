"""Backbones under ``torch.compile``: how many graphs, and the same numbers."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS
from torch._dynamo.testing import CompileCounter

from esvit_plugin.models.utils import mark_sizes

pytestmark = pytest.mark.slow  # tracing takes long

STAGES = dict(
    arch=dict(embed_dims=[8, 16], depths=[2, 1], num_heads=[1, 2]),
    out_indices=(0, 1),
)
SWIN = dict(
    type='EsViTSwin',
    arch=dict(embed_dims=8, depths=[2, 1], num_heads=[1, 2]),
    out_indices=(0, 1),
    img_size=32,
    window_size=3,
)
VIL = dict(
    type='ViL',
    img_size=32,
    patch_sizes=(4, 2),
    num_chunk_stages=1,
    num_global_tokens=(1, 0),
    **STAGES,
)
BACKBONES = dict(
    swin=SWIN,
    vil_masked=dict(VIL, window_size=4),
    vil_gathered=dict(VIL, window_size=1),
    vil_random=dict(VIL, window_size=1, random_neighbor=True),
    cvt=dict(type='CvT', window_size=3, **STAGES),
    dino_vit=dict(
        type='DINOVisionTransformer',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
        out_type='raw',
        out_indices=(0, 1),
    ),
)


@pytest.fixture(autouse=True)
def no_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def run(backbone, size, batch):
    """Outputs of a step, and the gradients if there are any."""
    images = torch.randn(
        batch, 3, size, size, generator=torch.Generator().manual_seed(size + batch)
    )
    mark_sizes(images)
    outs = backbone(images)
    if not torch.is_grad_enabled():
        return outs
    backbone.zero_grad()
    # Squares of normalised outputs would have a constant sum.
    sum((out.float() * weights(out)).sum() for out in outs).backward()
    return *outs, *(p.grad.clone() for p in backbone.parameters() if p.requires_grad)


def weights(out):
    return torch.linspace(-1, 1, out.numel()).view_as(out).sin()


# That of drawn neighbours gathers keys, too.
@pytest.mark.parametrize('name', [n for n in BACKBONES if n != 'vil_gathered'])
def test_a_graph_for_each_size_with_and_without_gradient(name):
    student = MODELS.build(dict(BACKBONES[name], drop_path_rate=0.5))
    teacher = copy.deepcopy(student).requires_grad_(False)
    counter = CompileCounter()
    for backbone in (student, teacher):
        backbone.compile(backend=counter, fullgraph=True)
    for batch in (3, 2, 5, 4):
        for size in (32, 16):
            run(student, size, batch)
            with torch.no_grad():
                run(teacher, size, batch)
        assert counter.frame_count == 4


@pytest.mark.parametrize('name', [n for n in BACKBONES if n != 'vil_random'])
def test_the_same_numbers(name):
    for mine, other in zip(*both(BACKBONES[name]), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_the_same_numbers_in_bfloat16_with_checkpoints():
    with torch.autocast('cpu'):
        results = both(dict(SWIN, with_cp=True))
    for mine, other in zip(*results, strict=True):
        error = (mine.float() - other.float()).norm()
        assert error <= 0.1 * other.float().norm() + 1e-5  # bfloat16 rounds otherwise


def both(cfg):
    """What a backbone gives as it is, and compiled."""
    plain = MODELS.build(dict(cfg, drop_path_rate=0.0))
    compiled = copy.deepcopy(plain)
    compiled.compile(backend='aot_eager', fullgraph=True)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    return [
        [x for batch in (2, 3) for x in run(backbone, 32, batch)]
        for backbone in (plain, compiled)
    ]
