"""Weights that hold a backbone alone, converted and used; files that are refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from support import released_layouts
from support.released_checkpoints import (
    SMALL_SWIN,
    TOOL,
    check_reference,
    convert,
    named,
    small,
    small_config,
)
from support.released_layouts import bare, without
from support.tools import run
from support.training import small_model

from esvit_plugin import get_model
from esvit_plugin.apis import find_model_config

EXTRACT = 'model_converters/extract_backbone.py'


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


@pytest.mark.slow
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


@pytest.mark.slow
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
@pytest.mark.usefixtures('_whole_backbones')
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


@pytest.mark.slow
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
        ValueError, match=r'own\.pth: .* already .*esvit extract-backbone'
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


@pytest.mark.slow
def test_every_door_names_the_converter(tmp_path):
    """Files that were not converted, wherever weights are taken."""
    released, weights = small('swin')
    files = {'full': released, 'without_args': {**released, 'args': None}}
    files |= dict(zip(('flat', 'teacher', 'wrapped', 'model'), published(weights)))
    for name, content in files.items():
        path = tmp_path / f'{name}.pth'
        torch.save(content, path)
        message = rf'{name}\.pth .*esvit convert \S*{name}\.pth DST'
        with pytest.raises(ValueError, match=message):
            run(EXTRACT, path, tmp_path / 'out.pth')
        with pytest.raises(ValueError, match=message):
            get_model(small_config(), path)
        for prefix in (None, 'teacher.backbone.'):
            with pytest.raises(ValueError, match=message):
                use_as_pretrained(path, prefix, None)
        whole = dict(type='Pretrained', checkpoint=str(path))
        with pytest.raises(ValueError, match=rf'{name}\.pth.*esvit convert'):
            MODELS.build(dict(small_config(), init_cfg=whole)).init_weights()
        with pytest.raises(ValueError, match='esvit convert'):
            load_checkpoint(MODELS.build(small_config()), str(path))


def published(weights):
    files = backbone_files(weights)
    del files["under 'student'"]
    return files.values()


@pytest.mark.slow
def test_swin_of_timm_converts(tmp_path):
    """There patch merging stands at the beginning of a stage."""
    model = timm.create_model('swin_tiny_patch4_window7_224', num_classes=5)
    model.eval()
    src, dst = tmp_path / 'timm.pth', tmp_path / 'out.pth'
    torch.save(model.state_dict(), src)
    run('model_converters/esvit_to_mmpretrain.py', src, dst)
    found = get_model('esvit_swin_t', dst)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = model.forward_features(x).mean((1, 2))
        torch.testing.assert_close(found.encode(x)[0], expected, atol=1e-4, rtol=1e-3)
