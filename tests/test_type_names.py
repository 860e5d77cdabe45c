"""Types of configs that are classes work like names."""

import argparse

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from support.training import build_runner, small_model

from esvit_plugin.commands.train import merge_args
from esvit_plugin.engine import (
    AtomicCheckpointHook,
    KNNMonitorHook,
    MixedPrecisionOptimWrapper,
    PerParamClipAmpOptimWrapper,
    PerParamClipOptimWrapper,
    ResumableTrainLoop,
)
from esvit_plugin.engine.config_checks import check_config
from esvit_plugin.evaluation.knn import find_loaders
from esvit_plugin.models import EsViT
from esvit_plugin.type_names import type_name


@pytest.mark.parametrize(
    ('cfg', 'name'),
    [
        (dict(type='EsViT'), 'EsViT'),
        (dict(type='mmpretrain.EsViT'), 'EsViT'),
        (dict(type='esvit_plugin.models.EsViT'), 'EsViT'),
        (dict(type=EsViT), 'EsViT'),
        (dict(type=len), 'len'),
        (dict(), 'default'),
        (dict(type=None), 'default'),
        (None, 'default'),
        ('EsViT', 'default'),
    ],
)
def test_names(cfg, name):
    assert type_name(cfg, 'default') == name


def with_amp(wrapper):
    cfg = Config(dict(optim_wrapper=wrapper))
    args = argparse.Namespace(
        no_validate=False, resume=None, amp=True, auto_scale_lr=False
    )
    merge_args(cfg, args)
    return cfg.optim_wrapper.type


def test_amp_finds_the_twin_of_a_class():
    twin = 'mmpretrain.PerParamClipAmpOptimWrapper'
    for given in (
        'PerParamClipOptimWrapper',
        'mmpretrain.PerParamClipOptimWrapper',
        PerParamClipOptimWrapper,
    ):
        assert with_amp(dict(type=given)) == twin
    twin = 'mmpretrain.MixedPrecisionOptimWrapper'
    # mmengine's own wants a GPU.
    for given in (OptimWrapper, 'OptimWrapper', AmpOptimWrapper, 'AmpOptimWrapper'):
        assert with_amp(dict(type=given)) == twin
    assert with_amp(dict()) == twin
    # Those that are one of mixed precision already
    for given in (MixedPrecisionOptimWrapper, PerParamClipAmpOptimWrapper):
        assert with_amp(dict(type=given)) is given
    found = with_amp(dict(type='PerParamClipAmpOptimWrapper'))
    assert found is PerParamClipAmpOptimWrapper


class OwnWrapper(OptimWrapper):
    pass


def test_amp_without_a_twin_is_refused():
    """It trained in float32, without a word."""
    with pytest.raises(ValueError, match='--amp: OwnWrapper has no twin of mixed prec'):
        with_amp(dict(type=OwnWrapper))


def test_hooks_given_as_classes():
    loader = dict(batch_size=2)
    hook = dict(type=KNNMonitorHook, train_dataloader=loader, val_dataloader=loader)
    cfg = Config(dict(custom_hooks=[hook]))
    assert find_loaders(cfg, 'config.py') == (loader, loader)
    with pytest.raises(ValueError, match=r'\(KNNMonitorHook\): k must be'):
        check_config(dict(custom_hooks=[dict(**hook, ks=[0])]))


def test_loops_and_checkpoint_hooks_given_as_classes(tmp_path):
    runner = build_runner(
        tmp_path,
        model=small_model(),
        train_cfg=dict(type=EpochBasedTrainLoop, max_epochs=1),
        default_hooks=dict(checkpoint=dict(type=CheckpointHook, interval=1)),
    )
    assert any(isinstance(hook, AtomicCheckpointHook) for hook in runner.hooks)
    assert isinstance(runner.train_loop, ResumableTrainLoop)


@pytest.mark.parametrize('kind', ['Pretrained', 'class'])
def test_weights_of_a_backbone_given_as_a_class_are_not_overwritten(kind, tmp_path):
    import torch

    from esvit_plugin import get_model
    from esvit_plugin.engine import CheckedPretrainedInit

    source = get_model(small_model()).get_backbone()
    path = tmp_path / 'backbone.pth'
    torch.save(dict(state_dict=source.state_dict()), path)
    kind = CheckedPretrainedInit if kind == 'class' else kind
    cfg = small_model(init_cfg=dict(type=kind, checkpoint=str(path)))
    model = get_model(cfg)
    for name in ('student', 'teacher'):
        backbone = model.get_backbone(name)
        for key, value in source.state_dict().items():
            assert torch.equal(backbone.state_dict()[key], value), key
