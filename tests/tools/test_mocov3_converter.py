"""Checkpoints of MoCo v3's program, converted as a user does it."""

import re

import pytest
import torch
from mmpretrain.registry import MODELS
from support.mocov3 import released_checkpoint, released_shapes
from support.paths import CONFIGS
from support.tools import run

from esvit_plugin import get_model
from esvit_plugin.engine.configs import load_config
from esvit_plugin.evaluation.loading import load_backbone
from esvit_plugin.models.conversion.renames import VIT as VIT_NAMES
from esvit_plugin.models.conversion.renames import to_theirs

FOLDER = CONFIGS / 'mocov3'
TOOL = 'model_converters/esvit_to_mmpretrain.py'
VIT = dict(embed_dims=192, num_layers=2, num_heads=12, feedforward_channels=768)


def convert(tmp_path, content, *options):
    src, dst = tmp_path / 'released.pth.tar', tmp_path / 'converted.pth'
    torch.save(content, src)
    return run(TOOL, src, dst, *options), dst


def small_config(tmp_path, heads=12):
    """The config of ViT-S as a user changes it, as wide as the small checkpoint."""
    arch = dict(VIT, num_heads=heads, _delete_=True)
    path = tmp_path / f'small{heads}.py'
    path.write_text(
        f"_base_ = '{FOLDER}/mocov3_vit_s.py'\n"
        f'model = dict(backbone=dict(arch={arch}), '
        'neck=dict(in_channels=192, hid_channels=512), '
        'head=dict(predictor=dict(hid_channels=512)))\n'
    )
    return path


def plain_vit(weights, images, heads):
    """The program's ViT on its own names."""
    weight = weights['patch_embed.proj.weight']
    x = torch.nn.functional.conv2d(images, weight, weights['patch_embed.proj.bias'], 16)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([weights['cls_token'].expand(len(x), -1, -1), x], 1)
    x = x + weights['pos_embed']

    def norm(x, name):
        width = x.shape[-1:]
        pair = (weights[f'{name}.weight'], weights[f'{name}.bias'])
        return torch.nn.functional.layer_norm(x, width, *pair, eps=1e-6)

    def linear(x, name):
        return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

    for block in ('blocks.0', 'blocks.1'):
        qkv = linear(norm(x, f'{block}.norm1'), f'{block}.attn.qkv')
        q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + linear((scores @ v).transpose(1, 2).flatten(2), f'{block}.attn.proj')
        y = linear(norm(x, f'{block}.norm2'), f'{block}.mlp.fc1')
        x = x + linear(torch.nn.functional.gelu(y), f'{block}.mlp.fc2')
    return norm(x, 'norm')[:, 0]


@pytest.fixture
def released(golden):
    content = released_checkpoint(released_shapes(golden, 'mocov3_vit_s', small=True))
    # A trained momentum encoder is another one.
    weights = content['state_dict']
    for name, value in weights.items():
        if name.startswith('module.momentum_encoder') and value.is_floating_point():
            weights[name] = value if 'pos_embed' in name else value / 2
    return content


def bare(content, network='base_encoder'):
    prefix = f'module.{network}.'
    return {
        name.removeprefix(prefix): value
        for name, value in content['state_dict'].items()
        if name.startswith(prefix)
    }


def test_a_checkpoint_loads_strictly_and_gives_the_programs_features(
    released, tmp_path
):
    output, path = convert(tmp_path, released)
    assert "'num_heads': 12" in output
    config = small_config(tmp_path)
    model = get_model(config, path)
    assert type(model).__name__ == 'ReleasedMoCoV3'
    images = torch.randn(2, 3, 224, 224)
    for network, backbone in (
        ('base_encoder', model.backbone),
        ('momentum_encoder', model.momentum_encoder.module[0]),
    ):
        expected = plain_vit(bare(released, network), images, heads=12)
        with torch.no_grad():
            torch.testing.assert_close(backbone(images)[0], expected, atol=1e-4, rtol=0)
    with torch.no_grad():
        feature = load_backbone(config, path).extract_feat(images)
    torch.testing.assert_close(
        feature, plain_vit(bare(released), images, heads=12), atol=1e-4, rtol=0
    )


def test_learned_positions_leave_its_heads(released, tmp_path):
    for name, value in released['state_dict'].items():
        if name.endswith('pos_embed'):
            value.normal_()
    _, path = convert(tmp_path, released)
    meta = torch.load(path)['meta']['backbone']
    assert meta['type'] == 'MoCoV3VisionTransformer' and meta['arch']['num_heads'] == 12
    with pytest.raises(ValueError, match='have 12 heads, not 3 as deit_tiny has'):
        convert(tmp_path, released, '--arch', 'deit_tiny')


def test_configs_with_other_heads_refuse_it(released, tmp_path):
    _, path = convert(tmp_path, released)
    wrong = small_config(tmp_path, heads=6)
    message = re.escape(f'{path} is of a ViT with 12 attention heads')
    with pytest.raises(ValueError, match=message + '.* the config has 6'):
        get_model(wrong, path)
    with pytest.raises(ValueError, match=message):
        load_backbone(wrong, path)
    # As linear evaluation and fine-tuning take it.
    pretrained = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    for heads, fits in ((12, True), (6, False)):
        backbone = MODELS.build(
            dict(
                type='VisionTransformer',
                arch=dict(VIT, num_heads=heads),
                init_cfg=pretrained,
            )
        )
        if fits:
            backbone.init_weights()
            continue
        with pytest.raises(ValueError, match=message):
            backbone.init_weights()
    # The backbone alone still says it.
    alone = tmp_path / 'alone.pth'
    run('model_converters/extract_backbone.py', path, alone, '--student')
    backbone.init_cfg = dict(type='Pretrained', checkpoint=str(alone))
    with pytest.raises(ValueError, match='with 12 attention heads'):
        backbone.init_weights()


def test_files_of_its_linear_evaluation(released, tmp_path):
    weights = {f'module.{n}': v for n, v in bare(released).items() if 'head' not in n}
    weights['module.head.weight'] = torch.zeros(1000, 192)
    weights['module.head.bias'] = torch.zeros(1000)
    output, path = convert(tmp_path, dict(epoch=90, state_dict=weights))
    # Fixed positions tell it from a DeiT, whose heads have 64 channels.
    assert "'num_heads': 12" in output
    meta = torch.load(path, weights_only=True)['meta']
    assert meta['backbone']['arch']['num_heads'] == 12
    weights['module.pos_embed'] = torch.randn(1, 197, 192)
    output, _ = convert(tmp_path, dict(epoch=90, state_dict=weights))
    assert "'num_heads': 3" in output
    assert 'checkpoint of configs/linear.' in output


@pytest.mark.parametrize(
    ('width', 'place'), [(192, 'mae_lite'), (384, 'mocov3/evaluation'), (768, 'linear')]
)
def test_where_a_network_of_its_width_is_evaluated(tmp_path, width, place):
    arch = dict(embed_dims=width, num_layers=1, num_heads=12, feedforward_channels=96)
    vit = MODELS.build(dict(type='MoCoV3VisionTransformer', arch=arch, img_size=32))
    released = {
        f'module.{to_theirs(name, VIT_NAMES)}': value
        for name, value in vit.state_dict().items()
    }
    output, path = convert(tmp_path, dict(epoch=90, state_dict=released))
    assert f'init_cfg.checkpoint of configs/{place}.' in output
    # The prefixes that the configs of these folders have
    names = torch.load(path, weights_only=True)['state_dict']
    assert {'backbone.cls_token', 'teacher.backbone.cls_token'} <= set(names)


def test_a_stem_of_convolutions(released, tmp_path):
    weights = released['state_dict']
    for network in ('base_encoder', 'momentum_encoder'):
        prefix = f'module.{network}.patch_embed.proj.'
        del weights[f'{prefix}weight'], weights[f'{prefix}bias']
        channels = 3
        for number, width in enumerate((24, 48, 96, 192)):
            weights[f'{prefix}{3 * number}.weight'] = torch.randn(width, channels, 3, 3)
            norm = torch.nn.BatchNorm2d(width).state_dict()
            for name, value in norm.items():
                weights[f'{prefix}{3 * number + 1}.{name}'] = value
            channels = width
        weights[f'{prefix}12.weight'] = torch.randn(192, 192, 1, 1)
        weights[f'{prefix}12.bias'] = torch.zeros(192)
    output, path = convert(tmp_path, released)
    assert "'conv_stem': True" in output
    stem = torch.load(path, weights_only=True)['state_dict']
    assert 'backbone.patch_embed.projection.12.weight' in stem


@pytest.mark.slow
def test_resnet50_loads_into_its_config(golden, tmp_path):
    _, path = convert(
        tmp_path, released_checkpoint(released_shapes(golden, 'mocov3_resnet50'))
    )
    cfg = load_config(
        str(FOLDER / 'mocov3_resnet50.py'),
        {
            'model.neck.hid_channels': 512,
            'model.head.predictor.hid_channels': 512,
        },
    )
    model = MODELS.build(cfg.model)
    weights = torch.load(path, weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.pop('module.base_encoder.norm.weight'), 'missing: .*ln1.weight'),
        (
            lambda w: [w.pop(n) for n in list(w) if 'momentum_encoder' in n],
            r'It has no momentum_encoder\.\*',
        ),
        (lambda w: w.update({'module.queue': torch.zeros(1)}), 'module.queue belongs'),
        (
            lambda w: w.update({'module.predictor.2.weight': torch.zeros(1)}),
            'predictor.2.weight is no layer',
        ),
    ],
)
def test_damaged_checkpoints_are_refused(released, tmp_path, change, message):
    change(released['state_dict'])
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, released)
    assert not (tmp_path / 'converted.pth').exists()
