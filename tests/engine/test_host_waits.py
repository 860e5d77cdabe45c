"""The host does not wait for the GPU in a training step; seen without a GPU."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from support.backbones import BACKBONES
from support.host_waits import GPU, HostWait, forbid_host_waits
from support.training import (
    RandomViews,
    build_runner,
    random_views,
    small_model,
    with_backbone,
)

from esvit_plugin.datasets.transforms.device_multi_crop import to_row
from esvit_plugin.models import MultiCropDataPreprocessor


class Enough(Exception):
    """The steps that are looked at are done."""


class Steps(Hook):
    """Forbids waits from the first step on, and ends the training before the last."""

    priority = 'LOWEST'

    def __init__(self, watch, steps=2):
        self.watch, self.steps = watch, steps

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.watch.may_wait = False
        self.watch.copies.clear()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.steps:
            raise Enough


def tiny_model(regions):
    arch = dict(embed_dims=16, depths=[1, 2], num_heads=[1, 2])
    model = small_model(regions, arch=arch, out_indices=(1,))
    for neck in ('neck', 'region_neck'):
        if neck in model:
            model[neck]['in_channels'] = 32
    model['data_preprocessor'] = dict(mean=[0.0] * 3, std=[1.0] * 3)
    return model


def train(
    folder,
    regions=True,
    dtype=None,
    fused=True,
    log_interval=100,
    runtime_info='LazyRuntimeInfoHook',
    at_once=None,
    kind='PerParamClipOptimWrapper',
):
    """Some steps with the hooks and the optimiser of the recipe; what was copied."""
    amp = {}
    if dtype is not None:
        kind, amp = 'PerParamClipAmpOptimWrapper', dict(dtype=dtype)
    with forbid_host_waits() as watch:
        watch.may_wait = True
        runner = build_runner(
            folder,
            model=tiny_model(regions),
            # More iterations than are taken: at the end of an epoch values are logged.
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=RandomViews(num_local=1),
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
            optim_wrapper=dict(
                type=kind,
                constructor='MatrixDecayOptimWrapperConstructor',
                optimizer=dict(type='AdamW', lr=1e-3, fused=fused),
                clip_grad=dict(max_norm=3.0),
                **amp,
            ),
            param_scheduler=[
                dict(type='CosineAnnealingLR', eta_min=0, convert_to_iter_based=True)
            ],
            default_hooks=dict(
                runtime_info=dict(type=runtime_info),
                logger=dict(type='LoggerHook', interval=log_interval),
                checkpoint=dict(type='AtomicCheckpointHook'),
                random_state=dict(type='RandomStateHook'),
                finite_guard=dict(type='FiniteGuardHook', at_once=at_once),
                gradients=dict(type='GradientMonitorHook'),
                recovery=dict(type='RecoveryHook', minutes=60),
            ),
        )
        # Initial values are drawn, and described, before the model is moved.
        runner._init_model_weights = lambda: None
        runner.register_hook(Steps(watch))
        with pytest.raises(Enough):
            runner.train()
    assert watch.types == ({getattr(torch, dtype)} if dtype else set())
    return watch.copies


@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(fused=False, regions=False),
        dict(kind='OptimWrapper', regions=False),
        dict(dtype='bfloat16'),
        dict(dtype='float16', regions=False),
    ],
    ids=lambda options: '-'.join(map(str, options.values())) or 'float32',
)
def test_a_step_does_not_wait(tmp_path, options):
    """Views are all that is copied to the device, and nothing comes back."""
    assert train(tmp_path, **options) == [(2, 2, 3, 64, 64), (2, 1, 3, 32, 32)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'culprit'),
    [
        (dict(log_interval=1), '_fetch'),
        (dict(runtime_info='RuntimeInfoHook'), 'after_train_iter'),
        (dict(at_once=True), '_mark'),
        (dict(runtime_info='RuntimeInfoHook', kind='OptimWrapper'), '_clip_grad'),
    ],
)
def test_a_wait_is_seen(tmp_path, options, culprit):
    """Values that are logged, or looked at in each step, are waited for."""
    with pytest.raises(HostWait) as caught:
        train(tmp_path, regions=False, **options)
    assert culprit in [entry.name for entry in caught.traceback]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ViL', 'CvT', 'DeiT'])
def test_backbones_do_not_wait(name):
    model = MODELS.build(with_backbone(*BACKBONES[name]))
    views = random_views(num_local=1)
    with forbid_host_waits() as watch:
        watch.may_wait = True
        model.to(GPU)
        views = [view.to(GPU) for view in views]
        watch.may_wait = False
        losses = model.loss(views)
        (losses['loss_view'] + losses['loss_region']).backward()
    assert next(model.backbone.parameters()).grad.device == GPU


def test_augmentation_does_not_wait():
    """All that ``DeviceMultiCrop`` leaves to the device."""
    names = 'hue', 'saturation', 'contrast', 'brightness'
    group = SimpleNamespace(augment=SimpleNamespace(solarize_threshold=128))
    draws = [
        SimpleNamespace(
            flip=i % 2,
            gray=i % 2,
            blur_radius=i % 2 and 1.5,
            solarize=i % 2,
            jitter=[(name, 0.1) for name in names],
        )
        for i in range(2)
    ]
    params = torch.tensor(
        [[to_row(group, draw, True) for draw in draws]], dtype=torch.float64
    )
    crops = torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8)
    preprocessor = MultiCropDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)
    with forbid_host_waits() as watch:
        watch.may_wait = True
        preprocessor.to(GPU)
        watch.may_wait = False
        with pytest.raises(HostWait, match='without non_blocking'):
            preprocessor(dict(inputs=[[crops, params]]))
        preprocessor._non_blocking = True
        (views,) = preprocessor(dict(inputs=[[crops, params]]))['inputs']
        assert views.device == GPU
    assert len(watch.copies) > 10


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.item(),
        lambda x: bool(x > 0),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x[None].nonzero(),
        lambda x: x[None][x[None] > 0],
        lambda x: torch.equal(x, x),
        lambda x: x.expand(3)[torch.tensor([0, 1])],
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.ones(3).to(x.device),
        lambda x: x.expand(3).clone().copy_(torch.ones(3)),
    ],
)
def test_what_waits(wait):
    with forbid_host_waits(), pytest.raises(HostWait):
        wait(torch.zeros((), device=GPU))


def test_what_does_not_wait():
    with forbid_host_waits():
        x = torch.zeros((), device=GPU)
        torch.where(x > 0, 1.0, x).fill_(2).add_(torch.tensor(1.0))
        x.expand(3).clone()[0] = 1.0
        torch.ones(3).to(GPU, non_blocking=True).mul_(torch.arange(3, device=GPU))
        # The host's own values are there.
        assert torch.ones(3).sum().item() == 3
