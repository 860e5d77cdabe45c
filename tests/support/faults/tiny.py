"""A training of 3 epochs x 4 iterations in about a second."""

_base_ = ['../../../configs/_base_/default_runtime.py']
custom_imports = dict(imports=['esvit_plugin', 'support.faults.parts'])

out = 32
neck = dict(
    type='DINOProjection',
    in_channels=64,
    out_channels=out,
    hidden_channels=16,
    bottleneck_channels=8,
)
model = dict(
    type='EsViT',
    data_preprocessor=dict(
        type='MultiCropDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='EsViTSwin',
        arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2]),
        img_size=32,
        window_size=4,
        drop_path_rate=0.2,
    ),
    neck=neck,
    head=dict(type='DINOViewHead', out_channels=out),
    region_neck=neck,
    region_head=dict(type='RegionMatchingHead', out_channels=out),
)
train_pipeline = [
    dict(
        type='MultiCrop',
        views=[
            dict(size=32, scale=(0.4, 1.0), num_views=2),
            dict(size=16, scale=(0.1, 0.4), num_views=2),
        ],
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='TinyImages', length=12, pipeline=train_pipeline),
)
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(
    type='PerParamClipOptimWrapper',
    constructor='MatrixDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04),
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=3)
custom_hooks = [
    dict(type='EMATeacherHook', momentum=0.9),
    dict(type='TeacherTempHook', warmup_epochs=3),
    dict(type='FreezeLastLayerHook'),
    dict(type='RandomStateHook'),
    dict(type='TrainingMonitorHook'),
]
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=3, interval=1)
)
visualizer = dict(type='UniversalVisualizer', vis_backends=[])
randomness = dict(seed=7)
