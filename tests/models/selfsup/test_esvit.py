import copy
import math
from unittest import mock

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from support.training import random_views, small_model

from esvit_plugin.engine.configs import load_config
from esvit_plugin.models import EsViT, plain_twins


def build(**kwargs):
    model = MODELS.build(small_model(**kwargs))
    model.init_weights()
    return model


def plain_loss(model, views):
    """The paper's loss with one forward pass per view."""

    def outputs(parts, name, view):
        maps = parts['backbone'](view)[-1].flatten(2).transpose(1, 2)
        return maps, parts[name](maps.mean(1) if name == 'neck' else maps)

    def groups(parts, name, sizes):
        """Features and logits (B, n, ...) of the views of each size."""
        for size in sizes:
            pairs = [outputs(parts, name, view) for view in size.unbind(1)]
            yield tuple(torch.stack(part, 1) for part in zip(*pairs))

    def loss(head, name):
        feats, logits = zip(*groups(dict(model.named_children()), name, views))
        ((teacher_feats, targets),) = groups(model.teacher, name, views[:1])
        # Prototypes that make features the logits
        eye = torch.eye(head.out_channels, dtype=targets.dtype)
        inputs = dict(student_feats=feats, teacher_feats=teacher_feats)
        return copy.deepcopy(head).loss(
            student=logits,
            teacher=targets,
            prototypes=eye,
            teacher_prototypes=eye,
            **(inputs if name == 'region_neck' else {}),
        )

    total = loss(model.head, 'neck')['loss_view']
    if model.with_regions:
        regions = loss(model.region_head, 'region_neck')['loss_region']
        total = 0.5 * total + 0.5 * regions
    return total


@pytest.mark.parametrize('regions', [True, False])
def test_losses_sum_to_the_papers(regions):
    model = build(regions=regions).double()
    views = [group.double() for group in random_views()]
    expected = plain_loss(model, views)
    theirs = torch.autograd.grad(expected, model.backbone.parameters())
    losses = model.loss(views)
    assert ('loss_region' in losses) == regions
    total = sum(value for name, value in losses.items() if 'loss' in name)
    torch.testing.assert_close(total, expected)
    ours = torch.autograd.grad(total, model.backbone.parameters())
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other)


def test_regions_alone():
    half = build()
    alone = MODELS.build(small_model() | dict(region_weight=1))
    alone.load_state_dict(half.state_dict())
    views = random_views()
    losses = alone.loss(views)
    assert set(losses) == {
        'loss_region',
        'feature_spread',
        'region_entropy',
        'region_prototypes_used',
        'region_spread',
    }
    torch.testing.assert_close(
        losses['loss_region'], 2 * half.loss(views)['loss_region']
    )
    # Every parameter that is trained has a gradient, as DDP demands.
    losses['loss_region'].backward()
    for name, param in alone.named_parameters():
        is_trained = not name.startswith(('teacher.', 'neck.'))
        assert param.requires_grad == is_trained, name
        assert (param.grad is not None) == is_trained, name
    assert not alone.head.center.any() and alone.region_head.center.any()
    assert 0 < losses['region_entropy'] < math.log(32)


@pytest.mark.parametrize('value', ['dict(fullgraph=True)', 'True', 1, None, ['eager']])
def test_other_than_options_of_the_compiler_are_refused(value):
    with pytest.raises(ValueError, match='EsViT: compile_backbones must be True, Fals'):
        MODELS.build(dict(small_model(), compile_backbones=value))


def test_options_of_the_compiler_on_the_command_line():
    path = 'model.compile_backbones'
    cfg = load_config(
        'esvit_swin_photos', {f'{path}.fullgraph': True, f'{path}.backend': 'eager'}
    )
    with mock.patch('torch.compile') as compiler:
        model = MODELS.build(cfg.model)
        MODELS.build(dict(small_model(), compile_backbones={}))
    assert model.compiles_backbones
    wanted = dict(fullgraph=True, backend='eager')
    assert [call.kwargs for call in compiler.call_args_list] == [wanted] * 2 + [{}] * 2


@pytest.mark.slow
def test_compiled_backbones_give_the_same():
    # What inductor generates is torch's; that the backbones can be traced is ours.
    arch = dict(embed_dims=64, depths=[1, 2], num_heads=[1, 2])  # tracing takes long
    cfg = small_model(arch=arch, out_indices=(1,))
    plain = MODELS.build(cfg)
    compiled = MODELS.build(dict(cfg, compile_backbones=dict(backend='eager')))
    compiled.load_state_dict(plain.state_dict(), strict=True)
    graphs = torch._dynamo.utils.counters['stats']
    graphs.clear()
    torch._dynamo.reset()
    views = random_views()[:1]
    results = []
    for model in (plain, compiled):
        torch.manual_seed(1)
        loss = model.loss(views)['loss_region']
        results.append([loss, *torch.autograd.grad(loss, model.backbone.parameters())])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-3)
    assert graphs['unique_graphs'] > 0


def test_every_student_parameter_has_a_gradient_and_no_teacher_parameter():
    model = build()
    model.loss(random_views())['loss_view'].backward(retain_graph=True)
    assert all(p.grad is None for p in model.region_neck.parameters())
    losses = model.loss(random_views())
    (losses['loss_view'] + losses['loss_region']).backward()
    for name, param in model.named_parameters():
        if name.startswith('teacher.'):
            assert not param.requires_grad, name
            assert param.grad is None, name
        else:
            assert param.grad is not None, name
            assert param.grad.isfinite().all(), name


def test_single_views_are_taken_like_stacked_ones():
    model = build()
    model.eval()
    views = random_views()
    single = [view for group in views for view in group.unbind(1)]
    torch.testing.assert_close(model.loss(views), model.loss(single))


def test_the_teacher_starts_as_the_student_without_stochastic_depth():
    model = build(drop_path_rate=0.5)
    for name, part in model.teacher.items():
        student = getattr(model, name).state_dict()
        assert all(torch.equal(v, student[k]) for k, v in part.state_dict().items())
    model.train()
    x = torch.randn(4, 3, 64, 64)
    assert torch.equal(model.extract_feat(x), model.extract_feat(x))
    first, second = (model.extract_feat(x, 'student') for _ in range(2))
    assert not torch.equal(first, second)


def test_the_teacher_follows_the_student():
    model = build()
    with torch.no_grad():
        for param in model.neck.parameters():
            param.normal_()
    old = copy.deepcopy(model.teacher['neck'].state_dict())
    model.update_teacher(0.9)
    for name, value in model.teacher['neck'].state_dict().items():
        expected = 0.9 * old[name] + 0.1 * model.neck.state_dict()[name]
        torch.testing.assert_close(value, expected)


def test_feature_spread_is_zero_when_images_look_alike():
    model = build()
    views = random_views(batch=4)
    assert model.loss(views)['feature_spread'] > 0.01
    alike = [view[:1, :1].expand_as(view) for view in views]
    assert model.loss(alike)['feature_spread'] < 1e-3


def test_region_spread_is_that_within_views():
    model = build()
    features = model.encode_group(random_views()[0], 'teacher')
    one = torch.randn_like(features.regions[:, :, :1])

    def spreads(*regions):
        views = features._replace(regions=torch.cat(regions, 2))
        losses = model.score([views], views)
        return losses['region_spread'], losses['feature_spread']

    spread, spread_of_views = spreads(one, 2 * one, one)
    assert spread < 1e-3 < spread_of_views
    # The unit vectors of two opposite regions have the mean 0.
    torch.testing.assert_close(spreads(one, -one)[0], torch.tensor(1.0))
    # Of these a mean of length 1 / 2 remains.
    spread = spreads(one, one, one, -one)[0]
    torch.testing.assert_close(spread, torch.tensor(0.75).sqrt())


def test_gray_batches_are_normalised_on_the_device():
    cfg = small_model()
    cfg['data_preprocessor'] = dict(mean=[1, 2, 3], std=[2, 2, 2], to_rgb=True)
    model = MODELS.build(cfg)
    views = [
        torch.randint(256, (2, n, 3, s, s), dtype=torch.uint8)
        for n, s in ((2, 64), (3, 32))
    ]
    data = model.data_preprocessor(dict(inputs=views, data_samples=None))
    for out, view in zip(data['inputs'], views):
        mean = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
        torch.testing.assert_close(out, (view.flip(2).float() - mean) / 2)
    single = model.data_preprocessor(dict(inputs=views[0][:, 0]))['inputs']
    torch.testing.assert_close(single, data['inputs'][0][:, 0])


def change(**parts):
    cfg = small_model()
    for name, options in parts.items():
        if options is None or not isinstance(options, dict):
            cfg[name] = options
        else:
            cfg[name] = {**cfg[name], **options}
    return cfg


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            change(neck=dict(in_channels=64)),
            r'neck.in_channels=64, .* EsViTSwin has 128 channels. Set '
            r'model.neck.in_channels=128',
        ),
        (change(region_neck=dict(in_channels=64)), r'model.region_neck.in_channels='),
        (
            change(head=dict(out_channels=16)),
            r'neck.out_channels=32, but head.out_channels=16',
        ),
        (
            change(region_head=dict(out_channels=16)),
            r'region_neck.out_channels=32, but region_head.out_channels=16',
        ),
        (change(region_head=None), 'region_neck and region_head belong together'),
        (change(region_weight=0.0), 'region_weight must be above 0 and at most 1'),
        (change(region_weight=1.1), 'above 0 and at most 1, got 1.1. For view-only'),
    ],
)
def test_parts_that_do_not_fit_are_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)


def test_the_width_is_that_of_the_last_map_that_is_returned():
    """An earlier stage may be trained, which gives narrower maps."""
    narrow = dict(in_channels=64)
    parts = dict(backbone=dict(out_indices=(1, 2)), neck=narrow, region_neck=narrow)
    model = MODELS.build(change(**parts))
    view, regions = model.encode(torch.randn(1, 3, 64, 64))
    assert view.shape[-1] == regions.shape[-1] == 64
    with pytest.raises(ValueError, match='EsViTSwin has 64 channels'):
        MODELS.build(change(backbone=dict(out_indices=(1, 2))))


def test_necks_state_the_number_of_prototypes():
    cfg = change(region_neck=dict(out_channels=48))
    for name in ('head', 'region_head'):
        cfg[name] = {k: v for k, v in cfg[name].items() if k != 'out_channels'}
    model = MODELS.build(cfg)
    assert model.head.center.shape == (1, 32)
    assert model.region_head.center.shape == (1, 48)
    assert model.loss(random_views())['loss_region'] > 0


def test_the_plain_twin_of_a_step_gives_the_same():
    model = build()
    model.eval()
    views = random_views()
    losses, grads = [], []
    for plain in (False, True):
        with plain_twins(plain):
            losses.append(model.loss(views))
        total = losses[-1]['loss_view'] + losses[-1]['loss_region']
        grads.append(torch.autograd.grad(total, model.backbone.parameters()))
    torch.testing.assert_close(*losses)
    for mine, other in zip(*grads):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ('views', 'message'),
    [
        ([torch.zeros(2, 1, 3, 64, 64)], 'at least 2 global views'),
        (torch.zeros(2, 3, 64, 64), r'list of views, .*a tensor of shape \(2, 3'),
        ([torch.zeros(3, 64, 64)], r'must have shape \(B, n, 3, S, S\)'),
        (
            [torch.zeros(2, 2, 3, 64, 64), torch.zeros(2, 1, 3, 30, 30)],
            'a view of 30x30 px is no multiple of the patch size 4',
        ),
    ],
)
def test_views_that_do_not_fit_are_refused(views, message):
    with pytest.raises(ValueError, match=message):
        build().loss(views)


def test_a_backbone_without_a_map_is_refused():
    cfg = small_model()
    cfg['backbone'] = dict(
        type='VisionTransformer', arch='deit-tiny', img_size=64, out_type='cls_token'
    )
    for neck in ('neck', 'region_neck'):
        cfg[neck] = {**cfg[neck], 'in_channels': 192}
    with pytest.raises(
        ValueError, match=r"VisionTransformer .* \(4, 192\).*out_type='raw'"
    ):
        MODELS.build(cfg).loss([torch.randn(2, 2, 3, 64, 64)])


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    model = build()

    def save(state_dict):
        path = tmp_path / 'checkpoint.pth'
        torch.save(dict(state_dict=state_dict), path)
        return str(path)

    own = model.state_dict()
    load_checkpoint(build(), save(own))
    student = {k: v for k, v in own.items() if not k.startswith('teacher.')}
    with pytest.raises(ValueError, match='not an EsViT checkpoint.*init_cfg'):
        load_checkpoint(build(), save(student))
    with pytest.raises(ValueError, match='neck.last_layer.weight_g of shape'):
        load_checkpoint(build(num_prototypes=64), save(own))
    deeper = dict(embed_dims=16, depths=[1, 1, 4, 1], num_heads=[1, 2, 4, 8])
    with pytest.raises(ValueError, match='EsViT checkpoint of another architecture'):
        load_checkpoint(build(arch=deeper), save(own))
    deep = build(arch=deeper).state_dict()
    with pytest.raises(ValueError, match='has .* tensors that this EsViT does not'):
        load_checkpoint(build(), save(deep))
    with pytest.raises(ValueError, match='esvit convert'):
        load_checkpoint(build(), save(dict(student={}, teacher={}, dino_loss={})))


def test_the_region_task_can_be_added_to_a_view_only_checkpoint(tmp_path):
    path = tmp_path / 'view.pth'
    first = build(regions=False)
    torch.save(dict(state_dict=first.state_dict()), path)
    second = build(regions=True)
    load_checkpoint(second, str(path))
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_pretrained_keeps_the_checkpoints_own_teacher(tmp_path):
    path = tmp_path / 'checkpoint.pth'
    first = build()
    for param in first.neck.parameters():
        param.data.add_(1)
    torch.save(dict(state_dict=first.state_dict()), path)
    second: EsViT = MODELS.build({**small_model(), 'pretrained': str(path)})
    second.init_weights()
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
