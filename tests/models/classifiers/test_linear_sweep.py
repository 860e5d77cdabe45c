"""Linear probes of several learning rates against probes of one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.evaluation import Accuracy
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from support.backbones import BACKBONES
from support.training import SMALL_SWIN

from esvit_plugin.evaluation import LinearSweepAccuracy
from esvit_plugin.models.last_blocks import pool_last_blocks

WIDTH = 32 + 64 + 64 + 128


def build(**options):
    cfg = dict(
        type='LinearSweepClassifier',
        backbone=SMALL_SWIN,
        num_classes=5,
        in_channels=WIDTH,
        lr_factors=(0.1, 1.0, 10.0),
    )
    return MODELS.build({**cfg, **options})


def optim_wrapper(model):
    cfg = dict(
        type='OptimWrapper',
        constructor='LinearSweepOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.1),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return build_optim_wrapper(model, cfg)


def batches(number=4):
    for _ in range(number):
        images = torch.randn(6, 3, 64, 64)
        yield images, [DataSample().set_gt_label(i % 5) for i in range(6)]


def test_every_classifier_is_trained_as_one_alone():
    model = build()
    alone = [copy.deepcopy(head) for head in model.heads]
    singles = [
        torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9, weight_decay=0.1)
        for head, lr in zip(alone, (0.001, 0.01, 0.1))
    ]
    wrapper = optim_wrapper(model)
    frozen = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    for images, samples in batches():
        losses = model(images, samples, mode='loss')
        assert list(losses) == ['loss_x0.1', 'loss_x1', 'loss_x10']
        wrapper.update_params(sum(losses.values()))
        feats = pool_last_blocks(model.backbone, images)
        labels = torch.cat([sample.gt_label for sample in samples])
        for head, optimizer, loss in zip(alone, singles, losses.values()):
            single = F.cross_entropy(head(feats), labels)
            torch.testing.assert_close(single, loss)
            optimizer.zero_grad()
            single.backward()
            optimizer.step()
    for head, other in zip(model.heads, alone):
        torch.testing.assert_close(head.weight, other.weight)
        torch.testing.assert_close(head.bias, other.bias)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, frozen[name]), name


def test_the_backbone_is_fixed():
    model = build()
    assert model.training
    assert not model.backbone.training
    assert not any(p.requires_grad for p in model.backbone.parameters())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(x), model(x))
    assert model(x).shape == (3, 2, 5)


def test_the_best_classifier_is_reported():
    evaluator = Evaluator(LinearSweepAccuracy(topk=(1, 2)))
    torch.manual_seed(3)
    scores = torch.rand(40, 3, 5)
    labels = torch.randint(5, (40,))
    scores[torch.arange(30), 1, labels[:30]] += 1  # the second one knows 30 of them
    samples = [DataSample().set_gt_label(int(label)) for label in labels]
    for sample, score in zip(samples, scores):
        sample.set_field(score, 'sweep_scores')
        sample.set_field([0.1, 1.0, 10.0], 'lr_factors')
    evaluator.process(samples)
    found = evaluator.evaluate(len(samples))
    for i, name in enumerate(('x0.1', 'x1', 'x10')):
        expected = Accuracy.calculate(scores[:, i], labels, (1,))[0][0].item()
        assert found[f'accuracy/{name}'] == pytest.approx(expected, rel=1e-5)
    assert found['accuracy/top1'] == found['accuracy/x1']
    top2 = Accuracy.calculate(scores[:, 1], labels, (2,))[0][0].item()
    assert found['accuracy/top2'] == pytest.approx(top2, rel=1e-5)
    assert found['accuracy/best_lr_factor'] == 1.0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(lr_factors=()), r'positive numbers, .* got \[\]'),
        (dict(lr_factors=(1.0, 1.0)), 'each only once'),
        (dict(lr_factors=(1.0, -1.0)), 'positive'),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_the_mean_of_patches_joins_the_class_token():
    backbone, width = BACKBONES['DeiT']
    model = build(
        backbone=backbone, in_channels=2 * width, num_blocks=1, patch_mean=True
    )
    x = torch.randn(2, 3, 64, 64)
    wanted = pool_last_blocks(model.backbone, x, 1, True)
    torch.testing.assert_close(model.extract_feat(x), wanted)
    with pytest.raises(ValueError, match='patch_mean=True is for backbones with'):
        build(patch_mean=True)(torch.randn(2, 3, 64, 64))


def test_what_does_not_fit_is_refused():
    x = torch.randn(2, 3, 64, 64)
    with pytest.raises(ValueError, match=f'Set model.in_channels={WIDTH}'):
        build(in_channels=128)(x)
    with pytest.raises(ValueError, match='no gt_label'):
        build()(x, [DataSample(), DataSample()], mode='loss')
    with pytest.raises(ValueError, match="got 'train'"):
        build()(x, mode='train')
    with pytest.raises(TypeError, match='for a LinearSweepClassifier'):
        optim_wrapper(torch.nn.Linear(2, 2))


def test_a_backbone_of_another_architecture_is_refused(tmp_path):
    """mmengine would only log it, and a random backbone would be evaluated."""
    path = str(tmp_path / 'backbone.pth')
    init_cfg = dict(type='Pretrained', checkpoint=path)

    def save(**options):
        backbone = MODELS.build({**SMALL_SWIN, **options})
        torch.save(dict(state_dict=backbone.state_dict()), path)
        return backbone

    own = save()
    model = build(backbone=dict(SMALL_SWIN, init_cfg=init_cfg))
    model.init_weights()
    for name, value in own.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
    arch = SMALL_SWIN['arch']
    for options, message in (
        (dict(arch={**arch, 'depths': [1, 1, 1, 1]}), r'lacks stages\.2\.blocks\.1'),
        (dict(arch={**arch, 'embed_dims': 8}), 'is of another architecture than'),
        (dict(window_size=2), 'covers 3 x 3 offsets, that of the config 7 x 7'),
    ):
        save(**options)
        model = build(backbone=dict(SMALL_SWIN, init_cfg=init_cfg))
        with pytest.raises(ValueError, match=message):
            model.init_weights()
