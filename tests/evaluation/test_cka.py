"""CKA between the layers of two ViTs, and what it must not depend on."""

import copy

import pytest
import torch
from mmpretrain.models.selfsup import MAEViT, MoCoV3ViT
from support.backbones import BACKBONES
from support.frozen import frozen, noise_images

from esvit_plugin.evaluation import layer_cka, unbiased_hsic
from esvit_plugin.evaluation.cka import gram_matrix
from esvit_plugin.evaluation.images import model_inputs

DEIT = BACKBONES['DeiT'][0]
ARCH = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)


def plain_hsic(x, y):
    """The estimator with sums over all images, of features (N, D)."""
    k, m = (features.double() @ features.double().T for features in (x, y))
    number = len(k)
    trace = left = right = both = 0.0
    for i in range(number):
        for j in range(number):
            if i != j:
                trace += k[i, j] * m[j, i]
                left += k[i, j]
                right += m[i, j]
                both += sum(k[i, j] * m[j, n] for n in range(number) if n != j)
    value = trace + left * right / ((number - 1) * (number - 2))
    return (value - 2 * both / (number - 2)) / (number * (number - 3))


def plain_points(model, batch):
    """Patch tokens (N, T C) at all points of mmpretrain's ViT, block by block."""
    vit = model.backbone
    x = torch.cat([model_inputs(model, image) for _, image in batch])
    x, _ = vit.patch_embed(x)
    if vit.cls_token is not None:
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
    x = x + vit.pos_embed
    points = [x]
    for layer in vit.layers:
        x = layer(x)
        points.append(x)
    return [point[:, vit.num_extra_tokens :].flatten(1) for point in points]


def hsic(x, y):
    return unbiased_hsic(gram_matrix(x)[None], gram_matrix(y)[None]).item()


def test_the_estimator_is_that_of_plain_loops():
    x, y = torch.randn(7, 5).double() + 3, torch.randn(7, 9).double()
    assert hsic(x, y) == pytest.approx(plain_hsic(x, y).item(), rel=1e-6)
    assert hsic(x, x) == pytest.approx(plain_hsic(x, x).item(), rel=1e-6)
    # A large mean costs no digits.
    assert hsic(x + 1e6, y) == pytest.approx(hsic(x, y), rel=1e-6)


def test_the_estimator_has_no_bias():
    generator = torch.Generator().manual_seed(0)

    def draw(width):
        return torch.randn(6, width, generator=generator, dtype=torch.float64)

    found = torch.tensor([hsic(draw(4), draw(3)) for _ in range(1000)])
    # The biased one has a mean of 2 here.
    assert abs(found.mean()) < 4 * found.std() / 1000**0.5 < 0.5


def cka(x, y):
    return hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5


def test_rotation_and_scale_change_nothing():
    x, y = torch.randn(20, 6).double(), torch.randn(20, 8).double()
    rotation, _ = torch.linalg.qr(torch.randn(6, 6).double())
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, x @ rotation) == pytest.approx(1)
    assert cka(x, 3 * x + 5) == pytest.approx(1)
    assert cka(0.1 * x @ rotation, y) == pytest.approx(cka(x, y))
    # Other linear maps do change it.
    assert cka(x, x @ torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 1])).double()) < 0.95
    assert abs(cka(x, y)) < 0.5


@torch.no_grad()
def test_layers_are_compared_as_by_plain_loops():
    first = frozen(DEIT)
    second = frozen({**DEIT, 'arch': ARCH, 'patch_size': 32})
    shots = noise_images(13)
    found = layer_cka(first, second, shots, batch_size=6)
    assert found.cka.shape == (3, 4)
    assert (found.num_images, found.num_left_over) == (12, 1)
    sums = torch.zeros(3, 3, 4).double()
    for batch in (shots[:6], shots[6:12]):
        points = plain_points(first, batch), plain_points(second, batch)
        for i, x in enumerate(points[0]):
            for j, y in enumerate(points[1]):
                pairs = (x, y), (x, x), (y, y)
                sums[:, i, j] += torch.stack([plain_hsic(*pair) for pair in pairs])
    # Sums first: a mean of the batches' ratios is another number.
    torch.testing.assert_close(
        found.cka, sums[0] / (sums[1] * sums[2]).sqrt(), rtol=1e-4, atol=1e-5
    )


MODELS = {
    'mmpretrain': DEIT,
    'without class token': {**DEIT, 'with_cls_token': False},
    'two tokens': {**DEIT, 'type': 'DistilledVisionTransformer'},
    'DINO': {**DEIT, 'type': 'DINOVisionTransformer'},
    'MAE': {**DEIT, 'type': MAEViT},
    'MoCo v3': {**DEIT, 'type': MoCoV3ViT},
    'timm': BACKBONES['TIMMBackbone'][0],
}


@pytest.mark.parametrize('name', MODELS)
def test_a_model_is_like_itself(name):
    model = frozen(MODELS[name])
    found = layer_cka(model, model, noise_images(8))
    torch.testing.assert_close(found.cka.diagonal(), torch.ones(3).double())
    torch.testing.assert_close(found.cka, found.cka.T)
    assert found.cka[0, 2] < 0.99


@torch.no_grad()
def test_the_class_token_does_not_count():
    first = frozen(DEIT)
    second = copy.deepcopy(first)

    # The last block's class token alone becomes another one, in proportion to itself.
    def change(_module, _args, output):
        return torch.cat([7 * output[:, :1], output[:, 1:]], 1)

    second.backbone.layers[1].register_forward_hook(change)
    found = layer_cka(first, second, noise_images(8)).cka
    assert found[2, 2] == pytest.approx(1)


def test_what_cannot_be_compared_is_refused():
    model = frozen(DEIT)
    with pytest.raises(ValueError, match='at least 4 images that can be read, got 3'):
        layer_cka(model, model, noise_images(3))
    with pytest.raises(ValueError, match='batch_size must be >= 4, got 3'):
        layer_cka(model, model, noise_images(8), batch_size=3)
    with pytest.raises(ValueError, match='CKA between layers is for plain .*ResNet'):
        layer_cka(model, frozen(BACKBONES['ResNet'][0]), noise_images(8))
    with pytest.raises(ValueError, match='after block 0 of the first model .* alike'):
        layer_cka(model, model, noise_images(1) * 8)
    fixed = frozen({**BACKBONES['TIMMBackbone'][0], 'dynamic_img_size': False})
    with pytest.raises(ValueError, match='does not take images of 96 x 96 px'):
        layer_cka(fixed, fixed, noise_images(8, 96))
