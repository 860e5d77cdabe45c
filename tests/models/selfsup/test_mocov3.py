"""MoCo v3's momentum encoder, batch norms and switches."""

import copy
import math

import pytest
import torch
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from support.mocov3 import small_mocov3
from torch import nn

from esvit_plugin.models import MoCoV3VisionTransformer, ReleasedMoCoV3


def views(batch=4, size=32):
    return [torch.randn(batch, 3, size, size) for _ in range(2)]


def build(**options):
    model = MODELS.build(small_mocov3(**options))
    model.init_weights()
    return model


def halves(model):
    """Parameters of the momentum encoder beside those that are trained."""
    keys = dict(model.momentum_encoder.module.named_parameters())
    queries = dict(nn.Sequential(model.backbone, model.neck).named_parameters())
    assert keys.keys() == queries.keys()
    return [(keys[name], queries[name]) for name in keys]


def test_momentum_moves_before_the_keys_by_the_cosine_of_the_iteration():
    model = build(base_momentum=0.25)
    for key, query in halves(model):
        assert torch.equal(key, query)
    with torch.no_grad():
        for _, query in halves(model):
            query.add_(torch.randn_like(query))
    before = copy.deepcopy(model)
    images = views()
    hub = MessageHub.get_current_instance()
    hub.update_info('iter', 3)
    hub.update_info('max_iters', 12)
    m = 0.25 * (1 + math.cos(math.pi * 3 / 12)) / 2
    expected = [(1 - m) * k + m * q for k, q in halves(before)]
    loss = model.loss(images, [])['loss']
    for (key, _), value in zip(halves(model), expected, strict=True):
        torch.testing.assert_close(key, value)
    # The plain steps of the paper's Algorithm 1, on parameters moved beforehand.
    with torch.no_grad():
        for (key, _), value in zip(halves(before), expected, strict=True):
            key.copy_(value)
    encoder = nn.Sequential(before.backbone, before.neck)
    queries = [before.head.predictor(encoder(view))[0] for view in images]
    keys = [before.momentum_encoder(view)[0] for view in images]
    plain = 0
    for query, key in zip(queries, keys[::-1], strict=True):
        query, key = (nn.functional.normalize(x, dim=1) for x in (query, key))
        logits = query @ key.detach().T / 0.2
        labels = torch.arange(len(logits))
        plain = plain + 0.4 * nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(loss, plain)


def test_the_momentum_encoder_has_statistics_of_its_own():
    model = build(base_momentum=0.01)
    with torch.no_grad():
        for key, _ in halves(model):
            key.mul_(0.5)
    model.loss(views(), [])
    own, other = model.momentum_encoder.module[1].bn0, model.neck.bn0
    assert int(own.num_batches_tracked) == int(other.num_batches_tracked) == 2
    assert not torch.allclose(own.running_var, other.running_var)


def test_no_momentum_copies_the_parameters():
    model = build(base_momentum=1.0, end_momentum=1.0)
    hub = MessageHub.get_current_instance()
    hub.update_info('iter', 5)
    hub.update_info('max_iters', 10)
    with torch.no_grad():
        for _, query in halves(model):
            query.add_(1)
    model.loss(views(), [])
    for key, query in halves(model):
        assert torch.equal(key, query)
    with pytest.raises(ValueError, match=r'base_momentum must lie in \(0, 1\]'):
        build(base_momentum=0.0)


def test_the_step_does_not_wait_for_the_momentum(monkeypatch):
    model = build()
    monkeypatch.setattr(torch.Tensor, 'item', None)
    monkeypatch.setattr(torch.Tensor, '__float__', None)
    monkeypatch.setattr(torch.Tensor, '__bool__', None)
    model.momentum_encoder.update_parameters(model._encoder())


def test_weights_without_a_momentum_encoder_begin_it():
    model, other = build(), build()
    weights = {
        name: value
        for name, value in other.state_dict().items()
        if not name.startswith('momentum_encoder.module')
    }
    model.load_state_dict(weights, strict=True)
    for key, query in halves(model):
        assert torch.equal(key, query)
    # Those with one keep it.
    with torch.no_grad():
        for key, _ in halves(other):
            key.zero_()
    model.load_state_dict(other.state_dict())
    assert not any(key.any() for key, _ in halves(model))


def test_single_images_and_other_numbers_of_views_are_refused():
    model = build()
    with pytest.raises(ValueError, match='batch of 1 image per process'):
        model.loss(views(1), [])
    with pytest.raises(ValueError, match='two views of each image, got 3'):
        model.loss([*views(), views()[0]], [])
    assert model.loss(views(2), [])['loss'].isfinite()


def test_initial_weights_are_those_of_the_program():
    vit = MoCoV3VisionTransformer('mocov3-small', stop_grad_conv1=True)
    vit.init_weights()
    assert vit.arch_settings['num_heads'] == 12

    def bound(weight, value):
        weight = weight.detach()
        assert 0.98 * value < weight.abs().max() <= value
        assert weight.std() == pytest.approx(value / math.sqrt(3), rel=0.02)

    bound(vit.patch_embed.projection.weight, math.sqrt(6 / (3 * 16**2 + 384)))
    for layer in (vit.layers[0], vit.layers[-1]):
        for part in layer.attn.qkv.weight.chunk(3):
            bound(part, math.sqrt(6 / (384 + 384)))
        bound(layer.ffn.layers[1].weight, math.sqrt(6 / (384 + 1536)))
        assert not layer.attn.qkv.bias.any()
    assert vit.cls_token.std().item() == pytest.approx(1e-6, rel=0.2)
    frozen = {name for name, p in vit.named_parameters() if not p.requires_grad}
    assert frozen == {
        'pos_embed',
        'patch_embed.projection.weight',
        'patch_embed.projection.bias',
    }
    # Names and positions are mmpretrain's.
    theirs = MODELS.build(dict(type='MoCoV3ViT', arch='mocov3-small', patch_size=16))
    theirs.init_weights()
    assert vit.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(vit.pos_embed, theirs.pos_embed)


SWITCHES = {
    'learned': dict(backbone=dict(position='learned')),
    'none': dict(backbone=dict(position='none')),
    'ln_pool': dict(
        backbone=dict(with_cls_token=False, out_type='featmap'),
        neck=dict(with_avg_pool=True),
    ),
    'pool': dict(
        backbone=dict(with_cls_token=False, out_type='featmap', final_norm=False),
        neck=dict(with_avg_pool=True),
    ),
    'stem': dict(backbone=dict(conv_stem=True)),
    'frozen': dict(backbone=dict(stop_grad_conv1=True)),
}


@pytest.mark.parametrize('name', SWITCHES)
def test_switches(name):
    model = build(**SWITCHES[name])
    backbone = model.backbone
    loss = model.loss(views(), [])['loss']
    loss.backward()
    trained = {n for n, p in backbone.named_parameters() if p.grad is not None}
    assert ('pos_embed' in trained) == (name == 'learned')
    assert any('patch_embed' in n for n in trained) == (name != 'frozen')
    assert ('cls_token' in trained) == (name[-4:] != 'pool')
    assert bool(backbone.pos_embed.any()) == (name != 'none')
    if name[-4:] == 'pool':
        images = torch.randn(2, 3, 32, 32)
        tokens = []
        backbone.layers[-1].register_forward_hook(lambda *args: tokens.append(args[2]))
        feature = model.neck.avgpool(backbone(images)[0]).flatten(1)
        last = backbone.ln1(tokens[0]) if name == 'ln_pool' else tokens[0]
        torch.testing.assert_close(feature, last.mean(1))
    if name == 'stem':
        widths = [
            m.out_channels
            for m in backbone.patch_embed.modules()
            if isinstance(m, nn.Conv2d)
        ]
        width = backbone.embed_dims
        assert widths == [width // 8, width // 4, width // 2, width, width]
        assert MoCoV3VisionTransformer.arch_zoo['mocov3-conv-small']['num_layers'] == 11


def test_wrong_switches_are_refused():
    with pytest.raises(ValueError, match="one of .*'learned'.* got 'rope'"):
        MoCoV3VisionTransformer('mocov3-small', position='rope')
    with pytest.raises(ValueError, match='stop_grad_conv1 is for the patch'):
        MoCoV3VisionTransformer('mocov3-small', conv_stem=True, stop_grad_conv1=True)
    with pytest.raises(ValueError, match='patches of 16 pixels, not of 8'):
        MoCoV3VisionTransformer('mocov3-small', conv_stem=True, patch_size=8)


def test_it_is_mmpretrains_method():
    theirs = MODELS.get('MoCoV3')
    assert issubclass(ReleasedMoCoV3, theirs)
    config = dict(small_mocov3(), type='MoCoV3')
    model = MODELS.build(config)
    model.load_state_dict(build().state_dict(), strict=True)
