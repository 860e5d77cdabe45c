"""Weights of the authors' programs, converted as a user does it and then used."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import released_layouts
import torch
import torchvision
from helpers import small_model
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from released_layouts import PROTOTYPES, bare, checkpoint, random_weights, without
from test_converters import run

from esvit_plugin import get_model
from esvit_plugin.apis import find_model_config

TOOL = 'model_converters/esvit_to_mmpretrain.py'
EXTRACT = 'model_converters/extract_backbone.py'
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
SMALL_SWIN = dict(
    type='EsViTSwin',
    arch=dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[3, 6, 12, 24]),
)


def arrange(weights, other, wrapped=(), regions=True, scaler=False):
    """A full checkpoint of a teacher's weights and a student's, by wrapped names."""

    def network(values, source):
        values = values if regions else without(values, 'head_dense')
        strip = '' if source in wrapped else 'module.'
        return {name.removeprefix(strip): v for name, v in values.items()}

    more = dict(fp16_scaler=dict(scale=65536.0, growth_tracker=3)) if scaler else {}
    return checkpoint(network(other, 'student'), network(weights, 'teacher'), **more)


def halved(weights):
    """Weights of a student that are not the teacher's, and cost nothing to make."""
    return {k: v / 2 if v.is_floating_point() else v for k, v in weights.items()}


def convert(tmp_path, content, *options):
    src, dst = tmp_path / 'released.pth', tmp_path / 'converted.pth'
    torch.save(content, src)
    return run(TOOL, src, dst, *options), dst


def load_strictly(cfg, path):
    model = MODELS.build(cfg)
    state_dict = torch.load(path, weights_only=True)['state_dict']
    model.load_state_dict(state_dict, strict=True)
    model.eval()
    return model, state_dict


def plain_logits(weights, head, x):
    """Prototype logits of features (N, C), from a head's released weights."""
    for layer in (0, 2, 4):
        name = f'{head}.mlp.{layer}.'
        x = x @ weights[f'{name}weight'].T + weights[f'{name}bias']
        x = torch.nn.functional.gelu(x) if layer < 4 else x / x.norm(dim=-1)[:, None]
    gain, direction = (weights[f'{head}.last_layer.weight_{k}'] for k in 'gv')
    return x @ (gain * direction / direction.norm(dim=-1)[:, None]).T


def named(golden, case, number=64):
    """All weights of a released network by name, of few prototypes."""
    from golden import fill

    layouts = json.loads((golden / 'checkpoint_layouts.json').read_text())
    shapes = {
        name: [number, *shape[1:]] if '.last_layer.' in name else shape
        for name, (shape, _) in layouts['student'][case].items()
    }
    # Values follow from the names that the reference knows.
    filled = fill({bare(name): shape for name, shape in shapes.items()})
    return {name: filled[bare(name)] for name in shapes}


def check_reference(golden, case, encode):
    """Compare features with those of the authors' program."""
    from golden import images

    reference = np.load(golden / f'backbone_{case}.npz')
    for size in (224, 96):
        with torch.no_grad():
            features = encode(images(0, 2, size))
        for kind, value in zip(('pooled', 'region'), features):
            np.testing.assert_allclose(value, reference[f'{kind}_{size}'], atol=1e-4)


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
def test_a_whole_view_only_checkpoint_fits_its_config_as_it_is(golden, tmp_path):
    weights = without(named(golden, 'deit_s', 65536), 'head_dense')
    _, dst = convert(tmp_path, arrange(weights, weights, **VARIANTS['view']))
    model = get_model('esvit_deit_s_view', dst)
    check_reference(golden, 'deit_s', model.encode)


def small(name, **settings):
    """A small checkpoint in the authors' structure, and the weights in it."""
    layout = released_layouts.layout(name)
    weights = random_weights(layout)
    return arrange(weights, random_weights(layout, 1), **settings), weights


def small_config(regions=True):
    neck = dict(
        type='DINOProjection',
        in_channels=96,
        out_channels=PROTOTYPES,
        hidden_channels=256,
        bottleneck_channels=32,
    )
    head = dict(out_channels=PROTOTYPES)
    return dict(
        type='EsViT',
        backbone=SMALL_SWIN,
        neck=neck,
        head=dict(type='DINOViewHead', **head),
        region_neck=neck if regions else None,
        region_head=dict(type='RegionMatchingHead', **head) if regions else None,
    )


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


def backbone_files(weights):
    """Forms in which a backbone alone is published, by what the tool calls them."""
    plain = {bare(name): value for name, value in without(weights, 'head').items()}
    classifier = {'head.weight': torch.rand(5, 96), 'head.bias': torch.rand(5)}
    projected = {bare(name): value for name, value in weights.items()}
    return {
        'in the file': plain,
        "under 'teacher'": dict(teacher=projected, epoch=3),
        "under 'state_dict'": dict(
            state_dict={f'module.backbone.{k}': v for k, v in plain.items()}
        ),
        "under 'model'": dict(model={**plain, **classifier}),
        "under 'student'": dict(student={f'module.{k}': v for k, v in plain.items()}),
    }


@pytest.mark.parametrize('where', backbone_files({}))
def test_a_backbone_alone_converts_and_is_used(tmp_path, where):
    released, weights = small('swin')
    content = backbone_files(weights)[where]
    output, dst = convert(tmp_path, content)
    assert f'They are the backbone {where}, named backbone.* and teacher.' in output
    assert ('Left out: the' in output) == (
        where in ("under 'teacher'", "under 'model'")
    )
    if where == "under 'model'":
        assert 'the 2 tensors of heads, head.weight, head.bias\n' in output
    # The same as those of the full checkpoint
    _, full = convert(tmp_path, released)
    full = full.rename(tmp_path / 'full.pth')
    _, dst = convert(tmp_path, content)
    images = torch.randn(2, 3, 96, 96)
    model, other = get_model(small_config(), dst), get_model(small_config(), full)
    with torch.no_grad():
        view, regions = other.encode(images)
        for source in ('teacher', 'student'):
            for ours, theirs in zip(model.encode(images, source), (view, regions)):
                assert torch.equal(ours, theirs)
    # As the configs of linear evaluation, fine-tuning and detection read it
    use_as_pretrained(dst, 'teacher.backbone.', model)
    alone = tmp_path / 'alone.pth'
    run(EXTRACT, dst, alone)
    use_as_pretrained(alone, None, model)
    torch.testing.assert_close(get_model(small_config(), alone).encode(images)[0], view)
    # No tensor is stored twice.
    assert dst.stat().st_size < 1.2 * alone.stat().st_size


def use_as_pretrained(path, prefix, model):
    init = dict(type='Pretrained', checkpoint=str(path), prefix=prefix)
    backbone = MODELS.build(dict(SMALL_SWIN, init_cfg=init))
    backbone.init_weights()
    for name, value in model.teacher['backbone'].state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name


def test_tools_read_a_backbone_alone(tmp_path):
    released, weights = small('swin')
    config = tmp_path / 'config.py'
    Config(dict(model=small_config())).dump(str(config))
    image = np.random.default_rng(0).integers(256, size=(96, 96, 3))
    cv2.imwrite(str(tmp_path / 'a.png'), image.astype(np.uint8))
    found = []
    for content in (released, backbone_files(weights)['in the file']):
        _, dst = convert(tmp_path, content)
        alone = tmp_path / 'alone.pth'
        run(EXTRACT, dst, alone)
        for path in (dst, alone):
            out = tmp_path / f'{len(found)}.npz'
            args = (config, path, tmp_path / 'a.png', '-o', out, '--size=64')
            run('extract_features.py', *args, '--num-workers=0')
            found.append(np.load(out)['pooled'])
    for features in found[1:]:
        np.testing.assert_array_equal(features, found[0])
    # Another architecture
    other = convert(tmp_path, small('vil')[0], '--backbone-only')[1]
    with pytest.raises(ValueError, match=r'converted\.pth: .* not the EsViTSwin'):
        get_model(small_config(), other)


@pytest.mark.slow
def test_backbone_files_of_dino_give_the_reference_features(golden, tmp_path):
    for case, config in (('deit_s', 'esvit_deit_s'), ('resnet50', 'esvit_resnet50')):
        weights = without(named(golden, case), 'head')
        _, dst = convert(tmp_path, {bare(k): v for k, v in weights.items()})
        cfg = find_model_config(config)
        backbone = MODELS.build(cfg['backbone'])
        state_dict = torch.load(dst, weights_only=True)['state_dict']
        start = 'teacher.backbone.'
        backbone.load_state_dict(
            {k[len(start) :]: v for k, v in state_dict.items() if k.startswith(start)}
        )
        backbone.eval()
        cfg.update(region_neck=None, region_head=None)
        cfg['neck']['out_channels'] = cfg['head']['out_channels'] = 64
        check_reference(golden, case, get_model(cfg, dst).encode)


def test_a_classifier_of_torchvision_converts(tmp_path):
    weights = torchvision.models.resnet50(num_classes=5).state_dict()
    layout = without(released_layouts.layout('resnet50'), 'head')
    assert {bare(name) for name in layout} == set(weights) - {'fc.weight', 'fc.bias'}
    output, dst = convert(tmp_path, weights)
    assert 'Left out: the 2 tensors of heads, fc.weight, fc.bias' in output
    assert "The backbone is {'type': 'ResNet', 'depth': 50}" in output


def test_what_needs_no_conversion_is_said(tmp_path):
    model = get_model(small_model())
    own = tmp_path / 'own.pth'
    torch.save(dict(state_dict=model.state_dict()), own)
    with pytest.raises(
        ValueError, match=r'own\.pth: .* already .*extract_backbone\.py'
    ):
        run(TOOL, own, tmp_path / 'out.pth')
    alone = tmp_path / 'alone.pth'
    run(EXTRACT, own, alone)
    with pytest.raises(
        ValueError, match=r'alone\.pth: .* no conversion.*init_cfg=dict'
    ):
        run(TOOL, alone, tmp_path / 'out.pth')
    torch.save(model.backbone.state_dict(), alone)
    with pytest.raises(ValueError, match='names of mmpretrain already'):
        run(TOOL, alone, tmp_path / 'out.pth')


def test_other_files_are_not_converted(tmp_path):
    for content, message in (
        (dict(state_dict={}), r"no weights in it, only \['state_dict'\]"),
        (dict(epoch=1, args='x'), r"no weights in it, only \['args', 'epoch'\]"),
        (dict(weight=torch.ones(1)), r"they begin with \['weight'\]"),
        (
            dict(student=Path('x')),
            'is not loaded: a checkpoint holds tensors and plain',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            convert(tmp_path, content)
        assert not (tmp_path / 'converted.pth').exists()


def test_every_door_names_the_converter(tmp_path):
    """Files that were not converted, wherever weights are taken."""
    released, weights = small('swin')
    files = {'full': released, 'without_args': {**released, 'args': None}}
    files |= dict(zip(('flat', 'teacher', 'wrapped', 'model'), published(weights)))
    for name, content in files.items():
        path = tmp_path / f'{name}.pth'
        torch.save(content, path)
        message = rf'{name}\.pth .*esvit_to_mmpretrain\.py \S*{name}\.pth DST'
        with pytest.raises(ValueError, match=message):
            run(EXTRACT, path, tmp_path / 'out.pth')
        with pytest.raises(ValueError, match=message):
            get_model(small_config(), path)
        for prefix in (None, 'teacher.backbone.'):
            with pytest.raises(ValueError, match=message):
                use_as_pretrained(path, prefix, None)
        whole = dict(type='Pretrained', checkpoint=str(path))
        with pytest.raises(ValueError, match=rf'{name}\.pth.*esvit_to_mmpretrain'):
            MODELS.build(dict(small_config(), init_cfg=whole)).init_weights()
        with pytest.raises(ValueError, match='esvit_to_mmpretrain'):
            load_checkpoint(MODELS.build(small_config()), str(path))


def published(weights):
    files = backbone_files(weights)
    del files["under 'student'"]
    return files.values()
