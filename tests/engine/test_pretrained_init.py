"""Weights are loaded, or the file is named with what to do."""

import argparse

import pytest
import torch
from mmengine.registry import WEIGHT_INITIALIZERS
from mmpretrain.registry import MODELS
from support.paths import CONFIGS
from support.training import SMALL_SWIN, build_runner, small_model

from esvit_plugin import get_model
from esvit_plugin.engine import CheckedPretrainedInit
from esvit_plugin.engine.configs import load_config


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
    classifier = dict(
        type='ImageClassifier',
        backbone=SMALL_SWIN,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=128),
    )
    other = runner(tmp_path / 'c', model=classifier, load_from=paths['plain'])
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
