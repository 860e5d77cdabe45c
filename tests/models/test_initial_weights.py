"""Freshly built parts have the spread of the authors' program."""

import re
from math import sqrt

import pytest
import torch
from mmpretrain.registry import MODELS

from esvit_plugin.apis import find_model_config


# Standard deviation and largest absolute value of a weight of these inputs and outputs.
def normal(_shape):
    return 0.02, None


def torch_default(shape):
    bound = 1 / sqrt(torch.Size(shape[1:]).numel())
    return bound / sqrt(3), bound


def he_fan_out(shape):
    return sqrt(2 / (shape[0] * shape[2] * shape[3])), None


def zero(_shape):
    return 0, 0


def one(_shape):
    return 0, 1


NECKS = {
    r'(region_)?neck\.mlp\.\d\.weight': normal,
    r'(region_)?neck\.mlp\.\d\.bias': zero,
    r'(region_)?neck\.last_layer\.weight_g': one,
    r'(region_)?neck\.last_layer\.weight_v': torch_default,  # U(-1/16, 1/16)
}
# The first pattern that fits a parameter's name counts.
RULES = {
    'esvit_swin_t': {
        r'.*\.projection\.weight': torch_default,
        r'.*norm\d?\.weight': one,
        r'.*weight|.*_table': normal,
        r'.*bias': zero,
    },
    'esvit_vil_t': {
        r'.*\.projection\.weight': torch_default,
        r'.*norm\d?\.weight': one,
        r'.*weight|.*_table|.*global_tokens|.*_(local|global)_bias': normal,
        r'.*bias': zero,
    },
    'esvit_cvt_t': {
        r'.*norm\d?\.weight': one,
        r'.*weight': normal,  # convolutions, too
        r'.*bias': zero,
    },
    'esvit_deit_s': {
        r'.*\.projection\.weight': torch_default,
        r'.*ln\d\.weight': one,
        r'.*weight|.*cls_token|.*pos_embed': normal,
        r'.*bias': zero,
    },
    'esvit_resnet50': {
        r'.*conv\d\.weight|.*downsample\.0\.weight': he_fan_out,
        r'.*weight': one,
        r'.*bias': zero,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize('config', RULES)
def test_spread_of_fresh_weights(config):
    cfg = find_model_config(config)
    for part in ('neck', 'head', 'region_neck', 'region_head'):
        cfg[part]['out_channels'] = 512
    model = MODELS.build(cfg)
    model.init_weights()
    rules = {**NECKS, **RULES[config]}
    used = set()
    for name, value in model.named_parameters():
        pattern = next(
            p for p in rules if re.fullmatch(p, name.removeprefix('teacher.'))
        )
        rule = rules[pattern]
        used.add(pattern)
        if name.endswith('projection.bias') and rule is zero and has_default(rules):
            continue  # torch's default, like its weight
        std, largest = rule(value.shape)
        # In a few of 10 million draws torch's truncated normal returns its limit, 2.
        value = value.detach().clamp(-10 * std, 10 * std) if rule is normal else value
        rough = 5 * std / sqrt(2 * value.numel())
        assert value.std(unbiased=False).item() == pytest.approx(std, abs=rough), name
        if largest is not None:
            assert value.abs().max().item() <= largest * 1.0001, name
        mean = largest if rule is one else 0
        assert value.mean().item() == pytest.approx(
            mean, abs=5 * std / sqrt(value.numel())
        ), name
    assert used == set(rules)


def has_default(rules):
    """Whether embeddings keep torch's default."""
    return rules.get(r'.*\.projection\.weight') is torch_default


def test_vit_options_load_and_freeze_as_mmpretrains(tmp_path):
    options = dict(
        arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
        img_size=32,
        out_type='raw',
    )
    torch.manual_seed(0)
    first = MODELS.build(dict(type='VisionTransformer', **options))
    path = tmp_path / 'vit.pth'
    torch.save(dict(state_dict=first.state_dict()), path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    other = MODELS.build(
        dict(type='DINOVisionTransformer', init_cfg=init_cfg, **options)
    )
    other.init_weights()
    x = torch.rand(2, 3, 32, 32)
    for model in (first, other):
        model.eval()
    torch.testing.assert_close(other(x), first(x))
