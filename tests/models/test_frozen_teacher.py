"""Where teachers are read from, and which files are refused."""

import pytest
import timm
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from support.mae import ARCH, GRID, small_distilled, small_mae
from timm.models.vision_transformer import VisionTransformer

from esvit_plugin.models import MAETeacher, TIMMTeacher

CONFIG = dict(arch=dict(ARCH), **GRID)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
ORDER = torch.arange(16).flip(0).expand(2, -1)


def encoder():
    torch.manual_seed(3)
    model = MODELS.build(small_mae())
    model.init_weights()
    return model


def timm_vit():
    """The same encoder of timm."""
    model = VisionTransformer(
        img_size=64,
        embed_dim=48,
        depth=2,
        num_heads=4,
        mlp_ratio=2,
        num_classes=0,
    )
    torch.nn.init.normal_(model.pos_embed)
    return model


def scores(checkpoint):
    return MAETeacher(str(checkpoint), CONFIG)(IMAGES, ORDER)


def test_checkpoints_of_this_package(tmp_path, monkeypatch):
    model = encoder()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'mae.pth')
    tokens, _, _ = model.backbone.encode_kept(IMAGES, ORDER)
    wanted = model.backbone.last_scores(tokens)
    assert torch.equal(scores(tmp_path / 'mae.pth'), wanted)
    content = dict(state_dict=model.state_dict())
    monkeypatch.setattr('esvit_plugin.apis._download', lambda url: content)
    assert torch.equal(scores('https://example.org/mae.pth'), wanted)


def test_files_in_the_names_of_mae_and_mae_lite(tmp_path):
    weights = timm_vit().state_dict()
    path = tmp_path / 'teacher.pth'
    torch.save(dict(model=weights), path)
    wanted = scores(path)
    whole = {f'module.model.{n}': v for n, v in weights.items()}
    whole |= {f'module.model.{n}': torch.zeros(3) for n in ('mask_token', 'decoder_x')}
    whole['module.tch_model.norm.weight'] = torch.zeros(5)
    torch.save(dict(model=whole), path)
    assert torch.equal(scores(path), wanted)


def test_weights_that_timm_downloads(tmp_path, monkeypatch):
    model = timm_vit()
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        return model

    torch.save(model.state_dict(), tmp_path / 'teacher.pth')
    wanted = scores(tmp_path / 'teacher.pth')
    monkeypatch.setattr(timm, 'create_model', create)
    assert torch.equal(scores('timm::vit_base_patch16_224.mae'), wanted)
    assert asked == [('vit_base_patch16_224.mae', True)]

    def offline(name, pretrained):
        raise OSError('no network')

    monkeypatch.setattr(timm, 'create_model', offline)
    with pytest.raises(OSError, match='no network Give the path of a file'):
        scores('timm::vit_base_patch16_224.mae')
    with pytest.raises(ValueError, match='timm has no model vit_huge_mae;'):
        scores('timm::vit_huge_mae')


def test_wrong_files_are_refused(tmp_path):
    path = tmp_path / 'teacher.pth'
    with pytest.raises(FileNotFoundError, match=r'teacher\.pth\. It is to be the t'):
        scores(path)
    weights = timm_vit().state_dict()
    torch.save({n: v for n, v in weights.items() if 'blocks.1' not in n}, path)
    expected = r"not the expected MAELiteViT of \{'embed_dims': 48.*: it lacks layers.1"
    with pytest.raises(ValueError, match=expected):
        scores(path)
    torch.save(dict(weights, extra=torch.zeros(2)), path)
    with pytest.raises(ValueError, match='it has besides extra'):
        scores(path)
    # Positions of another size, which mmpretrain would resize
    torch.save(dict(weights, pos_embed=torch.zeros(1, 37, 48)), path)
    with pytest.raises(ValueError, match=r'pos_embed \(1, 37, 48\) instead of \(1, 17'):
        scores(path)


def test_classifiers_of_timm_name_classes(tmp_path):
    model = timm.create_model('test_resnet', num_classes=5).eval()
    torch.save(model.state_dict(), tmp_path / 'regnet.pth')
    path = str(tmp_path / 'regnet.pth')
    teacher = TIMMTeacher(path, 'test_resnet', 5)
    teacher.init_weights()
    teacher.train()
    assert torch.equal(teacher(IMAGES), model(IMAGES).argmax(1))
    assert not teacher.state_dict() and not list(teacher.parameters())
    with pytest.raises(ValueError, match='expected ResNet .* has another shape of fc'):
        TIMMTeacher(path, 'test_resnet', 6).init_weights()


def test_the_teacher_follows_its_images(tmp_path):
    torch.save(timm_vit().state_dict(), tmp_path / 'teacher.pth')
    teacher = MAETeacher(str(tmp_path / 'teacher.pth'), CONFIG)
    order = ORDER.to('meta')
    assert teacher(IMAGES.to('meta'), order).shape == (2, 4, 5, 5)
    assert {p.device.type for p in teacher.network.parameters()} == {'meta'}


def contrastive(weights):
    """The same encoder as a MoCo v3 of this package has it."""
    kept = {f'backbone.{name}': value for name, value in weights.items()}
    names = ('neck.fc0.weight', 'head.predictor.fc0.weight')
    return kept | dict.fromkeys(names, torch.zeros(2))


OTHERS = {
    'head.predictor.fc0': contrastive,
    'head.weight': lambda w: w | {'head.weight': torch.zeros(1000, 48)},
    'fc.bias': lambda w: w | {'fc.bias': torch.zeros(1000)},
    'model.head.bias': lambda w: (
        {f'module.model.{n}': v for n, v in w.items()}
        | {'module.model.head.bias': torch.zeros(5)}
    ),
    'base_encoder.x': lambda w: w | {'base_encoder.x': torch.zeros(5)},
    'momentum_encoder.x': lambda w: w | {'momentum_encoder.x': torch.zeros(5)},
    'neck.fc0.weight': lambda w: (
        {f'backbone.{n}': v for n, v in w.items()} | {'neck.fc0.weight': torch.ones(2)}
    ),
    'teacher.neck.x': lambda w: (
        {f'backbone.{n}': v for n, v in w.items()} | {'teacher.neck.x': torch.ones(2)}
    ),
}


@pytest.mark.parametrize('name', OTHERS)
def test_encoders_of_other_methods_are_refused(tmp_path, name):
    path = tmp_path / 'teacher.pth'
    ours = name.startswith(('head.pred', 'neck', 'teacher'))
    plain = encoder().backbone.state_dict() if ours else timm_vit().state_dict()
    torch.save(dict(state_dict=OTHERS[name](plain)), path)
    message = rf'teacher\.pth is no masked autoencoder: it has .*{name}.*Set model\.'
    with pytest.raises(ValueError, match=message):
        scores(path)


def test_what_the_file_says_of_itself_counts(tmp_path):
    path = tmp_path / 'teacher.pth'
    weights = encoder().state_dict()

    def save(model=None, **meta):
        if model:
            meta['cfg'] = Config(dict(model=model)).pretty_text
        torch.save(dict(state_dict=weights, meta=meta), path)

    save(small_mae())
    wanted = scores(path)
    for model in (small_distilled('a.pth'), small_mae(type='MAEViT')):
        save(model)
        assert torch.equal(scores(path), wanted)
    save(dict(small_mae(), type='MoCoV3'))
    with pytest.raises(ValueError, match='no masked .*: its config is of a MoCoV3'):
        scores(path)
    arch = dict(ARCH, num_heads=6)
    save(small_mae(arch=arch))
    heads = 'model.target_generator.* with 6 attention heads, that of the config has 4'
    with pytest.raises(ValueError, match=heads):
        scores(path)
    # Of a backbone alone
    weights = encoder().backbone.state_dict()
    for kind in ('MAELiteViT', 'VisionTransformer'):
        save(backbone=dict(type=kind, arch=ARCH))
        assert torch.equal(scores(path), wanted)
    save(backbone=dict(type='MoCoV3VisionTransformer', arch=ARCH))
    with pytest.raises(ValueError, match='its config is of a MoCoV3VisionTransformer'):
        scores(path)
    save(backbone=dict(type='MAELiteViT', arch=arch))
    with pytest.raises(ValueError, match=heads):
        scores(path)


def test_encoders_of_mae_alone(tmp_path):
    path = tmp_path / 'teacher.pth'
    weights = timm_vit().state_dict()
    torch.save(dict(model=weights), path)
    wanted = scores(path)
    norms = {f'fc_norm.{n}': torch.zeros(48) for n in ('weight', 'bias')}
    torch.save(dict(model=weights | norms), path)
    assert torch.equal(scores(path), wanted)
    ours = encoder().backbone.state_dict()
    torch.save(ours, path)
    wanted = scores(path)
    # As esvit convert writes a backbone
    prefixes = ('backbone.', 'teacher.backbone.')
    both = {f'{prefix}{n}': v for prefix in prefixes for n, v in ours.items()}
    torch.save(dict(state_dict=both), path)
    assert torch.equal(scores(path), wanted)


def test_distilled_ones_teach(tmp_path):
    path = tmp_path / 'dmae.pth'
    model = MODELS.build(small_distilled('nowhere.pth'))
    torch.save(dict(state_dict=model.state_dict()), path)
    assert scores(path).shape == (2, 4, 5, 5)
