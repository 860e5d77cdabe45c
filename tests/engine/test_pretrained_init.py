"""Weights are loaded, or the file is named with what to do."""

import argparse

import pytest
import torch
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from support.paths import CONFIGS
from support.training import SMALL_SWIN, build_runner, small_model

from esvit_plugin import get_model
from esvit_plugin.commands.test import check_weights
from esvit_plugin.engine import CheckedPretrainedInit
from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.pretrained_init import refuse_misfits
from esvit_plugin.models.strict_loading import whole_weights


@pytest.fixture
def files(tmp_path):
    """A model and files of it: whole, with prefixes, and under plain names."""
    model = get_model(small_model())
    teacher = model.teacher['backbone'].state_dict()
    contents = dict(
        whole=dict(state_dict=model.state_dict()),
        prefixed={f'teacher.backbone.{k}': v for k, v in teacher.items()},
        student={f'backbone.{k}': v for k, v in teacher.items()},
        plain=dict(state_dict=teacher),
        other=dict(state_dict={'conv.weight': torch.ones(1)}),
        some=dict(state_dict={'norm3.weight': teacher['norm3.weight'] + 1, 'extra': 1}),
    )
    paths = {name: str(tmp_path / f'{name}.pth') for name in contents}
    for name, content in contents.items():
        torch.save(content, paths[name])
    return model, paths


def runner(folder, **options):
    options.setdefault('experiment_name', folder.name)
    return build_runner(folder, **options)


def initialised(path, prefix):
    init = dict(type='Pretrained', checkpoint=path, prefix=prefix)
    backbone = MODELS.build(dict(SMALL_SWIN, init_cfg=init))
    backbone.init_weights()
    return backbone


@pytest.mark.parametrize(
    ('name', 'prefix'),
    [
        ('whole', 'teacher.backbone.'),
        ('whole', 'teacher.backbone'),
        ('prefixed', 'teacher.backbone.'),
        ('student', 'backbone.'),
        ('plain', None),
    ],
)
def test_what_fits_is_loaded(files, name, prefix):
    model, paths = files
    assert WEIGHT_INITIALIZERS.get('Pretrained') is CheckedPretrainedInit
    backbone = initialised(paths[name], prefix)
    for key, value in model.teacher['backbone'].state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value), key


def test_some_tensors_may_be_missing(files):
    model, paths = files
    backbone = initialised(paths['some'], None)
    weight = model.teacher['backbone'].norm3.weight
    assert torch.equal(backbone.norm3.weight, weight + 1)


@pytest.mark.parametrize(
    ('name', 'prefix', 'message'),
    [
        (
            'whole',
            None,
            r"under 'teacher\.backbone\.': set init_cfg\.prefix='tea",
        ),
        ('prefixed', 'backbone.', r"set init_cfg\.prefix='teacher\.backbone\.'"),
        ('student', 'teacher.backbone.', r"under 'backbone\.': set init_cfg\.prefix="),
        ('plain', 'teacher.backbone.', r'without a prefix: set init_cfg\.prefix=None'),
        ('other', None, r"it holds \['conv\.weight'\]"),
        ('other', 'teacher.backbone.', r"it holds \['conv\.weight'\]"),
    ],
)
def test_other_names_are_refused(files, name, prefix, message):
    _, paths = files
    with pytest.raises(ValueError, match=rf'{name}\.pth has no weights .*{message}'):
        initialised(paths[name], prefix)


WIDER = dict(embed_dims=32, depths=[1, 1, 2, 1], num_heads=[2, 4, 8, 16])
MORE_HEADS = dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[2, 4, 8, 16])


def classifier(arch=SMALL_SWIN['arch'], num_classes=2, **options):
    """Config of a small classifier."""
    return dict(
        type='ImageClassifier',
        backbone={**SMALL_SWIN, 'arch': arch, **options},
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=num_classes,
            in_channels=arch['embed_dims'] * 8,
        ),
    )


def load_into(model, path):
    with refuse_misfits(model, path):
        load_checkpoint(model, path)


@pytest.mark.parametrize('arch', [WIDER, MORE_HEADS])
def test_a_backbone_of_other_sizes_is_refused(tmp_path, arch):
    path = str(tmp_path / 'other.pth')
    torch.save(get_model(classifier(arch)).state_dict(), path)
    with pytest.raises(ValueError, match=r'other\.pth is of another arch.*EsViTSwin'):
        initialised(path, 'backbone.')
    message = r'other\.pth is of another arch.*ImageClassifier .* has backbone\.\S+ \('
    with pytest.raises(ValueError, match=message):
        load_into(get_model(classifier()), path)


DEEPER = dict(embed_dims=16, depths=[1, 1, 3, 1], num_heads=[1, 2, 4, 8])


def test_a_deeper_backbone_is_not_cut(tmp_path):
    path = str(tmp_path / 'deeper.pth')
    weights = get_model(classifier(DEEPER)).state_dict()
    torch.save(weights, path)
    target = get_model(classifier())
    message = r'deeper\.pth is of another arch.* has \S*stages\.2\.blocks\.2\.'
    with pytest.raises(ValueError, match=message):
        initialised(path, 'backbone.')
    with pytest.raises(ValueError, match=message):
        load_into(target, path)
    with pytest.raises(ValueError, match=message):
        check_weights(target, weights, path)
    # What is no block may be left over, and a head may have more layers.
    extras = {'backbone.mask_token': torch.ones(1), 'head.layers.7.bias': torch.ones(1)}
    torch.save({**target.state_dict(), **extras}, path)
    load_into(target, path)
    check_weights(target, {**target.state_dict(), **extras}, path)


@pytest.mark.parametrize('kind', ['EsViTSwin', 'SwinTransformer'])
def test_published_names_of_the_last_norm_are_known(tmp_path, kind):
    options = dict(pad_small_map=True) if kind == 'SwinTransformer' else {}
    cfg = classifier(type=kind, drop_path_rate=0.0, **options)
    source = get_model(cfg).state_dict()
    source['backbone.norm3.weight'] += 1
    old = {name.replace('norm3.', 'norm.'): value for name, value in source.items()}
    old['backbone.stages.0.blocks.0.attn.attn_mask'] = torch.ones(1)
    path = str(tmp_path / 'published.pth')
    torch.save(dict(state_dict=old), path)

    target = get_model(cfg)
    load_into(target, path)
    init = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    linear = MODELS.build(dict(cfg['backbone'], init_cfg=init))
    with whole_weights():
        linear.init_weights()
    check_weights(target, old, path)
    for backbone in (target.backbone, linear, get_model(cfg, path).backbone):
        assert torch.equal(backbone.norm3.weight, source['backbone.norm3.weight'])


def test_a_test_refuses_a_head_of_other_classes():
    weights = get_model(classifier(num_classes=5)).state_dict()
    with pytest.raises(ValueError, match=r'head\.fc\.bias \(5,\) instead of \(2,\)'):
        check_weights(get_model(classifier()), weights, 'five.pth')


def test_another_window_and_a_head_of_other_classes_are_allowed(tmp_path):
    path = str(tmp_path / 'other.pth')
    source = get_model(classifier(num_classes=5, window_size=3))
    torch.save(source.state_dict(), path)
    target = get_model(classifier())
    load_into(target, path)
    name = 'backbone.stages.3.blocks.0.ffn.layers.1.weight'
    assert torch.equal(target.state_dict()[name], source.state_dict()[name])


def test_a_config_takes_what_the_message_says():
    path = CONFIGS / 'linear' / 'linear_swin_t.py'
    cfg = load_config(str(path), {'model.backbone.init_cfg.prefix': None})
    assert cfg.model.backbone.init_cfg.prefix is None


@pytest.mark.slow
def test_load_from_is_checked_too(files, tmp_path):
    model, paths = files
    loaded = runner(tmp_path / 'run', load_from=paths['whole'])
    loaded.load_or_resume()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key
    for name, message in (
        ('prefixed', r"It holds a backbone without .*init_cfg=.*'teacher\.backbone\.'"),
        ('plain', r'It is not an EsViT checkpoint\. To start from a backbone alone'),
    ):
        other = runner(tmp_path / name, load_from=paths[name])
        with pytest.raises(ValueError, match=rf'{name}\.pth: .*{message}'):
            other.load_or_resume()
    other = runner(tmp_path / 'c', model=classifier(), load_from=paths['plain'])
    with pytest.raises(ValueError, match=r'of its backbone alone: set model\.backbone'):
        other.load_or_resume()


def test_checkpoints_of_the_programs_are_to_be_converted(tmp_path):
    path = str(tmp_path / 'released.pth')
    weights = {'module.patch_embed.proj.weight': torch.ones(1)}
    content = dict(student=weights, teacher=weights, dino_loss={}, epoch=3)
    message = r'released\.pth .*esvit convert \S*released\.pth DST'
    for more in ({}, dict(args=argparse.Namespace(arch='swin_tiny'))):
        torch.save({**content, **more}, path)
        for resume in (False, True):
            folder = tmp_path / f'{len(more)}_{resume}'
            other = runner(folder, load_from=path, resume=resume)
            with pytest.raises(ValueError, match=message):
                other.load_or_resume()
