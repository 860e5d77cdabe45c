"""Small models, data and runners that several tests use."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from esvit_plugin.engine import EsViTRunner
from esvit_plugin.engine.launch import prepare_launch
from support.ports import free_port

SMALL_SWIN = dict(
    type='EsViTSwin',
    arch=dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
    img_size=64,
    window_size=4,
    drop_path_rate=0.0,
)
# Random views of the data set's images, for runs that must be reproducible.
PIPELINE = [
    dict(
        type='MultiCrop',
        views=[
            dict(size=64, num_views=2),
            dict(size=32, scale=(0.05, 0.4), num_views=2),
        ],
    ),
    dict(type='PackInputs'),
]


def small_model(
    regions: bool = True, num_prototypes: int = 32, **backbone: Any
) -> dict[str, Any]:
    """Config of an EsViT that trains in milliseconds."""
    neck = dict(
        type='DINOProjection',
        in_channels=128,
        out_channels=num_prototypes,
        hidden_channels=32,
        bottleneck_channels=16,
    )
    cfg: dict[str, Any] = dict(
        type='EsViT',
        backbone={**SMALL_SWIN, **backbone},
        neck=dict(neck),
        head=dict(type='DINOViewHead', out_channels=num_prototypes),
    )
    if regions:
        cfg['region_neck'] = dict(neck)
        cfg['region_head'] = dict(
            type='RegionMatchingHead', out_channels=num_prototypes
        )
    return cfg


def with_backbone(backbone: dict, width: int) -> dict[str, Any]:
    """Config of the small EsViT with another backbone, whose maps have ``width``."""
    cfg = small_model()
    cfg['backbone'] = backbone
    for neck in ('neck', 'region_neck'):
        cfg[neck] = {**cfg[neck], 'in_channels': width}
    return cfg


def fresh_globals() -> None:
    """Forget the logs and pictures of runners before."""
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for manager in (MessageHub, MMLogger, Visualizer, *Visualizer.__subclasses__()):
        manager._instance_dict.clear()


def spawn_two(worker: Callable, folder: Path) -> list[Any]:
    """Run ``worker(rank, port, folder)`` in two processes; what they saved by rank."""
    return spawn(worker, folder, 2)


def spawn(worker: Callable, folder: Path, number: int) -> list[Any]:
    """Run ``worker(rank, port, folder)`` in processes; what they saved by rank."""
    mp.spawn(worker, args=(free_port(), folder), nprocs=number)
    return [torch.load(folder / f'rank{rank}.pth') for rank in range(number)]


def join_two(rank: int, port: int, **options: Any) -> ConfigDict:
    """Begin a process of ``spawn_two``; the config that launching it gives."""
    return join(rank, port, 2, **options)


def join(rank: int, port: int, number: int, **options: Any) -> ConfigDict:
    """Begin a process of ``spawn``; the config that launching it gives."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(number),
        LOCAL_WORLD_SIZE=str(number),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    cfg = ConfigDict(**options)
    prepare_launch(cfg, 'pytorch')
    return cfg


def random_views(batch: int = 2, num_local: int = 3) -> list[torch.Tensor]:
    """Two global and some local views of a made-up batch."""
    return [
        torch.randn(batch, 2, 3, 64, 64),
        torch.randn(batch, num_local, 3, 32, 32),
    ]


class RandomViews(Dataset):
    """Made-up multi-crop samples; the same index always gives the same views."""

    def __init__(self, length: int = 8, num_local: int = 3) -> None:
        generator = torch.Generator().manual_seed(1)
        self.globals = torch.randn(length, 2, 3, 64, 64, generator=generator)
        self.locals = torch.randn(length, num_local, 3, 32, 32, generator=generator)

    def __len__(self) -> int:
        return len(self.globals)

    def __getitem__(self, index: int) -> dict[str, Any]:
        views = [self.globals[index], self.locals[index]]
        return dict(inputs=views, data_samples=DataSample())


class Labelled(Dataset):
    """Made-up images of two classes."""

    def __init__(self, length: int = 4) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, 64, 64, generator=generator)
        sample = DataSample().set_gt_label(index % 2)
        return dict(inputs=image, data_samples=sample)


class StopAfter(Hook):
    """Ends a run as if it had been stopped at the end of an epoch."""

    priority = 'LOWEST'

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def after_train_epoch(self, runner: Runner) -> None:
        if runner.epoch + 1 == self.epoch:
            runner.train_loop.stop_training = True


def one_epoch(work_dir: Any, data_root: Any) -> dict[str, Any]:
    """Options that make a classifier's config train and evaluate once, on 2 images."""
    options: dict[str, Any] = {
        'work_dir': str(work_dir),
        'data_root': f'{data_root}/',
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        # Whole models, and many of them
        'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.save_last': False,
        'visualizer.vis_backends': [],
    }
    for part in ('train', 'val'):
        options[f'{part}_dataloader.num_workers'] = 0
        options[f'{part}_dataloader.persistent_workers'] = False
        options[f'{part}_dataloader.batch_size'] = 2
    return options


def build_runner(work_dir: Any, **overrides: Any) -> Runner:
    """A Runner on made-up data with the optimiser and hooks of the recipe."""
    cfg: dict[str, Any] = dict(
        model=small_model(),
        work_dir=str(work_dir),
        # A run of the same name shares the log's history; seeds repeat draws of torch.
        experiment_name=f'test_{uuid.uuid4().hex[:9]}',
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            dataset=RandomViews(),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(
            type='PerParamClipOptimWrapper',
            constructor='MatrixDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04),
            clip_grad=dict(max_norm=3.0),
        ),
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='TeacherTempHook', warmup_epochs=2),
            dict(type='FreezeLastLayerHook'),
            dict(type='RandomStateHook'),
            dict(type='TrainingMonitorHook'),
        ],
        default_hooks=dict(
            runtime_info=dict(type='LazyRuntimeInfoHook'),
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='AtomicCheckpointHook', interval=1),
            finite_guard=dict(type='FiniteGuardHook'),
            recovery=dict(type='RecoveryHook'),
        ),
        randomness=dict(seed=0),
        default_scope='mmpretrain',
    )
    cfg.update(overrides)
    # Runner takes these from its config only.
    names = 'model_wrapper_cfg', 'sync_bn'
    whole = {name: cfg.pop(name, None) for name in names}
    return EsViTRunner(**cfg, cfg=whole)
