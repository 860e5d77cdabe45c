"""MAE-lite and D-MAE against reference values of the authors' program."""

import json

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.registry import MODELS
from support.mae import (
    ARCH,
    GRID,
    released_mae,
    small_distilled,
    small_mae,
    teacher_weights,
)

from esvit_plugin.models import MAELiteViT
from esvit_plugin.models.backbones.mae_vit import mae_positions
from esvit_plugin.models.conversion.mae import mae_lite_from_released, mae_name


def load(case, golden, seed=0):
    """The model of a reference case, its reference values, images and order."""
    from golden import images, normal

    settings = json.loads((golden / f'{case}.json').read_text())
    reference = np.load(golden / f'{case}.npz')
    config, weights = mae_lite_from_released(released_mae(settings, seed))
    model = MODELS.build(config)
    model.load_state_dict(weights, strict=True)
    order = normal(seed, 'noise', (2, 196)).argsort(1)
    return model, reference, images(seed, 2, 224), order


def check_gradients(model, reference):
    """Sums of every gradient, relative to their own scale."""
    params = dict(model.named_parameters())
    names = [name for name in reference.files if name.startswith('grad:')]
    assert len(names) > 160
    for name in names:
        grad = params[mae_name(name.removeprefix('grad:'))].grad.double().flatten()
        index = torch.arange(1, len(grad) + 1, dtype=torch.float64)
        sums = torch.stack([grad.sum(), grad.abs().sum(), (grad * index).sum()])
        target = torch.from_numpy(reference[name])
        scale = target[1] * torch.tensor([1.0, 1.0, float(len(grad))])
        error = (sums - target).abs() / scale
        assert error.max() < 1e-5, f'{name}: {error.tolist()}'


@pytest.mark.slow
def test_mae_tiny_is_the_authors(golden):
    model, reference, images, order = load('mae_tiny', golden)
    assert torch.equal(order, torch.from_numpy(reference['ids_shuffle']))
    latent, mask, ids_restore = model.backbone(images, ids_shuffle=order)
    pred = model.neck(latent, ids_restore)
    loss = model.head.loss(pred, images, mask)
    wanted = reference['pred']
    np.testing.assert_allclose(latent.detach(), reference['latent'], atol=1e-4)
    np.testing.assert_allclose(pred[:, ::7, ::11].detach(), wanted, atol=1e-4)
    np.testing.assert_array_equal(mask, reference['mask'])
    assert loss.item() == pytest.approx(float(reference['loss']), rel=1e-5)
    loss.backward()
    check_gradients(model, reference)


def test_positions_are_the_authors(golden):
    reference = np.load(golden / 'mae_tiny.npz')
    for name, width in (('pos_embed', 192), ('decoder_pos_embed', 96)):
        ours = mae_positions(14, width)[0, :, ::5]
        np.testing.assert_allclose(ours, reference[name], atol=1e-5)


@pytest.mark.slow
def test_distillation_is_the_authors(golden, tmp_path):
    settings = json.loads((golden / 'mae_distill.json').read_text())
    torch.save(teacher_weights(released_mae(settings)), tmp_path / 'teacher.pth')
    model, reference, images, order = load('mae_distill', golden)
    teacher = model.target_generator
    teacher.checkpoint = str(tmp_path / 'teacher.pth')
    tokens, _, _ = model.backbone.encode_kept(images, order)
    scores = model.backbone.last_scores(tokens)
    for ours, name in ((scores, 'student'), (teacher(images, order), 'teacher')):
        assert ours.shape == (2, 12, 50, 50)
        wanted = reference[f'{name}_logits']
        ours = ours[:, :, ::7, ::7].detach()
        np.testing.assert_allclose(ours, wanted, atol=1e-4)
    losses = model.score(images, order)
    for ours, name in (('pixel', 'reconstruction'), ('attention', 'attention')):
        wanted = float(reference[f'loss_{name}'])
        assert losses[f'loss_{ours}'].item() == pytest.approx(wanted, rel=1e-5)
    sum(losses.values()).backward()
    grad = model.attn_adapter.weight.grad
    np.testing.assert_allclose(grad, reference['grad_adapter'], atol=1e-5)
    check_gradients(model, reference)


def small(**settings):
    model = MODELS.build(small_mae(**settings))
    model.init_weights()
    return model


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 64)


@pytest.mark.parametrize('mask', [None, False])
def test_whole_images_are_those_of_the_plain_vit(mask, images):
    model = small()
    plain = VisionTransformer(arch=dict(ARCH), out_type='raw', **GRID)
    plain.load_state_dict(model.backbone.state_dict())
    model.eval(), plain.eval()
    torch.testing.assert_close(model.backbone(images, mask=mask), plain(images))
    features = model.extract_feat(images)
    torch.testing.assert_close(features, plain(images))
    assert torch.equal(model.extract_feat(images)[0], features[0])


def test_masks_are_drawn_and_given(images):
    backbone = small().backbone
    torch.manual_seed(1)
    latent, mask, ids_restore = backbone(images)
    assert latent.shape == (3, 5, 48) and mask.sum(1).tolist() == [12] * 3
    # Three images, three masks
    assert len({tuple(row.tolist()) for row in mask}) == 3
    again, _, _ = backbone(images, ids_shuffle=ids_restore.argsort(1))
    assert torch.equal(latent, again)
    assert not torch.equal(backbone(images)[1], mask)


def test_pretrained_weights_stay(tmp_path, images):
    source = small()
    torch.nn.init.normal_(source.backbone.pos_embed)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'mae.pth')
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'mae.pth'), prefix='backbone.'
    )
    model = small(init_cfg=init_cfg)
    for name, value in source.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
    # A file without positions leaves MAE's.
    weights = source.state_dict()
    del weights['backbone.pos_embed']
    torch.save(dict(state_dict=weights), tmp_path / 'mae.pth')
    assert torch.equal(
        small(init_cfg=init_cfg).backbone.pos_embed.data, mae_positions(4, 48)
    )


def test_oblong_images_are_refused():
    with pytest.raises(ValueError, match='gives 4 x 2 patches; .*give one number'):
        MAELiteViT(dict(ARCH), img_size=(64, 32))


@pytest.fixture
def teacher_file(tmp_path):
    path = tmp_path / 'teacher.pth'
    torch.save(dict(state_dict=small().state_dict()), path)
    return path


def distilled(path, **teacher):
    torch.manual_seed(7)
    model = MODELS.build(small_distilled(path, **teacher))
    model.init_weights()
    return model


def test_a_student_like_its_teacher_has_nothing_to_learn(teacher_file, images):
    model = distilled(teacher_file)
    losses = model.score(images)
    assert losses['loss_attention'] > 1e-4 and losses['loss_pixel'] > 0
    model.backbone.load_state_dict(model.target_generator.network.state_dict())
    model.attn_adapter.weight.data.copy_(torch.eye(4)[..., None, None])
    assert model.score(images)['loss_attention'] == 0
    # With other patches it would not be.
    other = torch.rand(3, 16).argsort(1)
    tokens, _, _ = model.backbone.encode_kept(images, other)
    ours = model.backbone.last_scores(tokens)
    assert not torch.equal(ours, model.target_generator(images, other.flip(1)))
    assert torch.equal(ours, model.target_generator(images, other))


def test_the_weight_is_that_of_the_distillation(teacher_file, images):
    model, order = distilled(teacher_file), torch.rand(3, 16).argsort(1)
    one = model.score(images, order)
    model.distill_weight = 0.5
    half = model.score(images, order)
    assert half['loss_attention'] == 0.5 * one['loss_attention']
    assert half['loss_pixel'] == one['loss_pixel']


def test_the_teacher_is_neither_trained_nor_saved(teacher_file, images):
    model = distilled(teacher_file)
    teacher = model.target_generator.network
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    sum(model.loss(images, []).values()).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert model.attn_adapter.weight.grad.any()
    optimizer.step()
    assert not teacher.training
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    parts = {name.split('.')[0] for name in model.state_dict()}
    assert parts == {'backbone', 'neck', 'attn_adapter'}
    assert len(list(model.parameters())) == len(list(small().parameters())) + 1
    # A fresh model reads the teacher again.
    fresh = MODELS.build(small_distilled(teacher_file))
    fresh.load_state_dict(model.state_dict(), strict=True)
    order = torch.rand(3, 16).argsort(1)
    assert fresh.score(images, order) == model.score(images, order)


def test_teachers_that_see_other_patches_are_refused(teacher_file):
    for name, options in (
        (r'patch_resolution=\(4, 4\), its teacher \(6, 6\)', dict(img_size=96)),
        ('mask_ratio=0.75, its teacher 0.5', dict(mask_ratio=0.5)),
    ):
        with pytest.raises(ValueError, match=name):
            distilled(teacher_file, **options)
