"""Four whole training steps against the authors' program, through a Runner."""

import json

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.structures import DataSample
from support.training import build_runner
from torch.utils.data import Dataset

from esvit_plugin.models.conversion.esvit import esvit_from_released


class _GoldenCrops(Dataset):
    """The reference crops, in the order in which training asks for them."""

    def __init__(self, settings, normal):
        self.batch = settings['B']
        self.length = self.batch * settings['iters_per_epoch']
        self.normal = normal
        self.count = 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        iteration, position = divmod(self.count, self.batch)
        self.count += 1
        views = [
            self.normal(0, f'crop-{iteration}-{v}', (self.batch, 3, size, size))
            for v, size in enumerate([224] * 2 + [96] * 8)
        ]
        crops = [view[position] for view in views]
        inputs = [torch.stack(crops[:2]), torch.stack(crops[2:])]
        return dict(inputs=inputs, data_samples=DataSample())


class _Record(Hook):
    """Keeps the losses, and ends training when the reference ends."""

    def __init__(self, last_epoch):
        self.last_epoch = last_epoch
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())
        assert {'loss_view', 'loss_region'} < set(outputs)

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.last_epoch:
            runner.train_loop.stop_training = True


@pytest.mark.slow
def test_steps_match_the_authors_program(golden, tmp_path):
    from golden import fill, normal

    settings = json.loads((golden / 'train_steps.json').read_text())
    reference = np.load(golden / 'train_steps.npz')
    width, classes = settings['embed_dim'], settings['K']
    neck = dict(type='DINOProjection', in_channels=8 * width, out_channels=classes)
    warmup = settings['warmup_epochs']
    epochs, per_epoch = settings['epochs'], settings['iters_per_epoch']
    record = _Record(settings['steps'] // per_epoch)
    runner = build_runner(
        tmp_path,
        model=dict(
            type='EsViT',
            backbone=dict(
                type='EsViTSwin',
                arch=dict(
                    embed_dims=width,
                    depths=settings['depths'],
                    num_heads=settings['num_heads'],
                ),
                drop_path_rate=0.0,
            ),
            neck=neck,
            head=dict(type='DINOViewHead', out_channels=classes),
            region_neck=neck,
            region_head=dict(type='RegionMatchingHead', out_channels=classes),
        ),
        train_dataloader=dict(
            batch_size=settings['B'],
            num_workers=0,
            dataset=_GoldenCrops(settings, normal),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            type='PerParamClipOptimWrapper',
            constructor='MatrixDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=settings['peak_lr'], weight_decay=0.04),
            clip_grad=dict(max_norm=settings['clip']),
        ),
        param_scheduler=[
            dict(
                type='LinearLR',
                start_factor=1e-9,
                end=warmup,
                convert_to_iter_based=True,
            ),
            dict(
                type='CosineAnnealingLR',
                eta_min=1e-6,
                begin=warmup,
                end=epochs,
                convert_to_iter_based=True,
            ),
            dict(
                type='CosineAnnealingParamScheduler',
                param_name='weight_decay',
                eta_min_ratio=10,
                end=epochs,
                convert_to_iter_based=True,
            ),
        ],
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(
                type='TeacherTempHook',
                warmup_epochs=settings['warmup_teacher_temp_epochs'],
            ),
            dict(
                type='FreezeLastLayerHook',
                freeze_epochs=settings['freeze_last_layer'],
            ),
            dict(type='RandomStateHook'),
            dict(type='TrainingMonitorHook'),
            record,
        ],
    )
    weights = fill(settings['shapes'])
    center = torch.zeros(1, classes)
    _, released = esvit_from_released(
        dict(
            student={f'module.{k}': v for k, v in weights.items()},
            teacher=weights,
            dino_loss=dict(center=center, center_grid=center),
        )
    )
    runner.model.init_weights()
    runner.model.load_state_dict(released, strict=True)
    runner._init_model_weights = lambda: None  # keep what was loaded
    runner.train()

    expected = [float(reference[f'loss_{i}']) for i in range(settings['steps'])]
    assert record.losses == pytest.approx(expected, rel=1e-5)
    ours = runner.model.state_dict()
    for released_name, (name, order) in _released_layout(
        settings['shapes'], center
    ).items():
        for source, prefix in (('student', ''), ('teacher', 'teacher.')):
            value = ours[prefix + name].double().flatten()[order]
            index = torch.arange(1, len(value) + 1, dtype=torch.float64)
            sums = [value.sum(), value.abs().sum(), (value * index).sum()]
            target = torch.from_numpy(reference[f'{source}:{released_name}'])
            # Adam turns a gradient near zero into a step of full length, so single
            # entries may differ by rounding; the sums of absolutes scale the rest.
            scale = target[1] * torch.tensor([1.0, 1.0, float(len(value))])
            error = (torch.stack(sums) - target).abs() / scale
            assert error.max() < 1e-5, f'{source}:{released_name}: {error.tolist()}'
    for head, key in (('head', 'center_view'), ('region_head', 'center_region')):
        center = ours[f'{head}.center'].numpy()
        np.testing.assert_allclose(center, reference[key], atol=1e-5)


def _released_layout(shapes, center):
    """Our name of each released tensor, and our entries in the released order."""
    start, released = 0, {}
    for name, shape in shapes.items():
        numel = int(np.prod(shape))
        numbers = torch.arange(start, start + numel, dtype=torch.float64)
        released[name] = numbers.view(shape)
        start += numel
    owner = {int(value.min()): name for name, value in released.items()}
    _, converted = esvit_from_released(
        dict(
            student=released,
            teacher=released,
            dino_loss=dict(center=center, center_grid=center),
        )
    )
    layout = {}
    for name, value in converted.items():
        if not name.startswith('teacher.') and value.dtype == torch.float64:
            layout[owner[int(value.min())]] = (name, value.flatten().argsort())
    assert set(layout) == set(shapes)
    return layout
