"""A Swin of three stages with the paper's 7 x 7 regions, on crops of 16 photographs.

    python tools/misc/regions_experiment.py

trains it with and without the region task, and writes docs/regions.md. Views of 112 px
have 7 x 7 regions and views of 48 px 3 x 3, as 224 and 96 px of the paper's Swin-T.
"""

_base_ = [
    '../_base_/models/swin_t.py',
    '../_base_/schedules/adamw_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='EsViTSwin',
        arch=dict(embed_dims=32, depths=[1, 1, 2], num_heads=[1, 2, 4]),
        img_size=112,
        window_size=7,
        drop_path_rate=0.0,
        out_indices=(2,),
    ),
    neck=dict(in_channels=128, out_channels=1024, hidden_channels=256),
    region_neck=dict(in_channels=128, out_channels=1024, hidden_channels=256),
)

blur_radius = (0.1, 1.0)
train_pipeline = [
    dict(
        type='DeviceMultiCrop',
        views=[
            dict(
                size=112,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=1.0, blur_radius=blur_radius),
            ),
            dict(
                size=112,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=0.1, blur_radius=blur_radius, solarize_prob=0.2),
            ),
            dict(
                size=48,
                scale=(0.05, 0.4),
                num_views=4,
                augment=dict(blur_prob=0.5, blur_radius=blur_radius),
            ),
        ],
    ),
    dict(type='PackInputs'),
]
# Of images of one's own, esvit knn --data
eval_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='ResizeEdge',
        scale=128,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=112),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='BundledPhotos', split='train', crop_size=128, pipeline=train_pipeline
    ),
)

# 48 iterations each.
train_cfg = dict(max_epochs=6)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=1),
    dict(_base_.param_scheduler[1], begin=1),
    _base_.param_scheduler[2],
]
custom_hooks = [
    dict(type='EMATeacherHook', momentum=0.996, start_share=0.01),
    dict(type='TeacherTempHook', teacher_temp=0.04, warmup_epochs=0),
    dict(type='FreezeLastLayerHook'),
    dict(type='RandomStateHook'),
    dict(type='TrainingMonitorHook'),
    # For the second phase of a run that began without the region task.
    dict(type='RegionTaskHook'),
]
default_hooks = dict(
    logger=dict(interval=24), checkpoint=dict(interval=1, max_keep_ckpts=-1)
)
