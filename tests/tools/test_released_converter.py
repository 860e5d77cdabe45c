"""Full checkpoints of the authors' programs, converted as a user does it."""

import ast
import re

import pytest
import torch
from support.released_checkpoints import (
    arrange,
    check_reference,
    convert,
    load_strictly,
    named,
    small,
    small_config,
)
from support.released_layouts import (
    bare,
    checkpoint,
    without,
)

from esvit_plugin import get_model
from esvit_plugin.apis import find_model_config

CASES = {
    'swin_t_w7': 'esvit_swin_t',
    'swin_t_w14': 'esvit_swin_t_w14',
    'swin_s_w7': 'esvit_swin_s',
    'swin_b_w14': 'esvit_swin_b_w14',
    'vil_t': 'esvit_vil_t',
    'cvt_t': 'esvit_cvt_t',
    'deit_s': 'esvit_deit_s',
    'resnet50': 'esvit_resnet50',
}
# Whose names begin with module.; what lies beside; whether there are regions.
VARIANTS = {
    'both': dict(wrapped=('student', 'teacher')),
    'none': dict(wrapped=()),
    'student': dict(wrapped=('student',)),
    'teacher': dict(wrapped=('teacher',)),
    'view': dict(wrapped=('student',), regions=False),
    'scaler': dict(wrapped=('student',), scaler=True),
}


def halved(weights):
    """Weights of a student that are not the teacher's, and cost nothing to make."""
    return {k: v / 2 if v.is_floating_point() else v for k, v in weights.items()}


def plain_logits(weights, head, x):
    """Prototype logits of features (N, C), from a head's released weights."""
    for layer in (0, 2, 4):
        name = f'{head}.mlp.{layer}.'
        x = x @ weights[f'{name}weight'].T + weights[f'{name}bias']
        x = torch.nn.functional.gelu(x) if layer < 4 else x / x.norm(dim=-1)[:, None]
    gain, direction = (weights[f'{head}.last_layer.weight_{k}'] for k in 'gv')
    return x @ (gain * direction / direction.norm(dim=-1)[:, None]).T


# Whole networks take seconds, so that one may have two variants at once.
@pytest.mark.slow
@pytest.mark.parametrize(
    ('case', 'wrapped', 'beside'),
    [
        ('swin_t_w7', 'student', ''),
        ('swin_t_w14', 'student', 'view'),
        ('swin_s_w7', 'both', ''),
        ('swin_b_w14', 'teacher', 'scaler'),
        ('vil_t', 'none', 'view'),
        ('cvt_t', 'teacher', ''),
        ('deit_s', 'none', ''),
        ('resnet50', 'both', 'scaler'),
    ],
)
@pytest.mark.usefixtures('_whole_backbones')
def test_a_released_checkpoint_gives_the_reference_features(
    golden, tmp_path, case, wrapped, beside
):
    weights = named(golden, case)
    settings = {**VARIANTS.get(beside, {}), **VARIANTS[wrapped]}
    released = arrange(weights, halved(weights), **settings)
    output, dst = convert(tmp_path, released)
    regions = settings.get('regions', True)
    cfg = find_model_config(CASES[case] + ('' if regions else '_view'))
    parts = ('', 'region_') if regions else ('',)
    for part in parts:
        cfg[f'{part}neck']['out_channels'] = cfg[f'{part}head']['out_channels'] = 64
    model, state_dict = load_strictly(cfg, dst)
    assert f'{len(state_dict)} tensors written' in output
    check_reference(golden, case, model.encode)
    for name, value in state_dict.items():
        teacher = state_dict.get(f'teacher.{name}')
        if teacher is not None and value.is_floating_point():
            assert torch.equal(value, teacher / 2), name
    features = torch.randn(3, model.neck.in_channels)
    plain = {bare(name): value for name, value in weights.items()}
    for part, head, center in (
        ('', 'head', 'center'),
        ('region_', 'head_dense', 'center_grid'),
    )[: len(parts)]:
        logits = model.teacher[f'{part}neck'](features)
        expected = plain_logits(plain, head, features)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        ours = getattr(model, f'{part}head').center
        assert torch.equal(ours, released['dino_loss'][center])


@pytest.mark.slow
@pytest.mark.usefixtures('_whole_backbones')
def test_a_whole_view_only_checkpoint_fits_its_config_as_it_is(golden, tmp_path):
    weights = without(named(golden, 'deit_s', 65536), 'head_dense')
    _, dst = convert(tmp_path, arrange(weights, weights, **VARIANTS['view']))
    model = get_model('esvit_deit_s_view', dst)
    check_reference(golden, 'deit_s', model.encode)


@pytest.mark.parametrize('variant', VARIANTS)
def test_each_variant_converts(tmp_path, variant):
    settings = VARIANTS[variant]
    released, weights = small('swin', **settings)
    output, dst = convert(tmp_path, released)
    assert "'type': 'EsViTSwin', 'arch': {'embed_dims': 12" in output
    cfg = small_config(settings.get('regions', True))
    model, _ = load_strictly(cfg, dst)
    assert torch.load(dst, weights_only=True)['meta']['epoch'] == 7
    assert torch.equal(model.head.center, released['dino_loss']['center'])
    qkv = model.teacher['backbone'].stages[1].blocks[0].attn.w_msa.qkv.weight
    assert torch.equal(qkv, weights['module.layers.1.blocks.0.attn.qkv.weight'])
    assert not torch.equal(
        model.backbone.stages[1].blocks[0].attn.w_msa.qkv.weight, qkv
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'options', 'kind'),
    [
        ('vil', (), 'ViL'),
        ('cvt', ('--arch', 'cvt_tiny'), 'CvT'),
        ('deit', (), 'VisionTransformer'),
        ('resnet50', (), 'ResNet'),
    ],
)
def test_other_backbones_convert(tmp_path, name, options, kind):
    output, dst = convert(tmp_path, small(name, **VARIANTS['student'])[0], *options)
    assert f"The backbone is {{'type': '{kind}'" in output
    weights = torch.load(dst, weights_only=True)['state_dict']
    assert any(name.startswith('teacher.region_neck.') for name in weights)


def test_wrappers_of_compiled_networks_are_stripped(tmp_path):
    released, _ = small('swin', **VARIANTS['none'])
    for source, prefix in (('student', '_orig_mod.module.'), ('teacher', 'backbone.')):
        released[source] = {f'{prefix}{k}': v for k, v in released[source].items()}
    load_strictly(small_config(), convert(tmp_path, released)[1])


def test_weights_that_do_not_fit_are_named(tmp_path):
    released, _ = small('swin', **VARIANTS['none'])
    for network in ('student', 'teacher'):
        del released[network]['layers.0.blocks.0.mlp.fc1.bias']
        released[network]['layers.0.blocks.0.extra'] = torch.zeros(3)
        released[network]['norm.weight'] = torch.zeros(3)
    with pytest.raises(ValueError) as error:
        convert(tmp_path, released)
    for part in (
        'missing: backbone.stages.0.blocks.0.ffn.layers.0.0.bias, teacher.backbone.',
        'unknown: backbone.stages.0.blocks.0.extra, teacher.backbone.',
        'of another shape: backbone.norm3.weight (3,) instead of (96,)',
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match='those of a EsViTSwin'):
        convert(tmp_path, released, '--arch', 'vil_tiny')
    assert not (tmp_path / 'converted.pth').exists()


def test_heads_that_do_not_fit_leave_the_backbone(tmp_path):
    released, _ = small('swin', **VARIANTS['none'])
    for network in ('student', 'teacher'):
        released[network]['head.mlp.1.running_mean'] = torch.zeros(256)
    with pytest.raises(ValueError, match='heads have batch norm .* --backbone-only'):
        convert(tmp_path, released)
    output, dst = convert(tmp_path, released, '--backbone-only')
    assert "They are the backbone under 'teacher'" in output
    for network in ('student', 'teacher'):
        del released[network]['head.mlp.1.running_mean']
        del released[network]['head.last_layer.weight_g']
    with pytest.raises(ValueError, match='missing: .*weight_g.* --backbone-only'):
        convert(tmp_path, released)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'width'), [('deit', 192), ('resnet50', 2048)])
def test_full_checkpoints_of_dino_convert(tmp_path, name, width):
    """Views alone, the backbone wrapped once, the teacher's names without module."""
    _, weights = small(name)
    plain = {bare(k): v for k, v in without(weights, 'head_dense').items()}
    teacher = {
        k if k.startswith('head.') else f'backbone.{k}': v for k, v in plain.items()
    }
    student = {f'module.{k}': v for k, v in halved(teacher).items()}
    output, dst = convert(tmp_path, checkpoint(student, teacher))
    cfg = small_config(regions=False)
    kind = re.search(r'The backbone is (.*)', output)[1]
    cfg['backbone'] = ast.literal_eval(kind)
    cfg['neck'] = {**cfg['neck'], 'in_channels': width}
    model, _ = load_strictly(cfg, dst)
    x = torch.randn(2, width)
    logits = model.teacher['neck'](x)
    expected = plain_logits(plain, 'head', x)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
