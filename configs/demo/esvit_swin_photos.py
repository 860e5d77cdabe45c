"""A small EsViT on the 16 photographs that scikit-image and scikit-learn ship.

    python tools/train.py configs/demo/esvit_swin_photos.py

A few minutes on two CPU cores. ``bash tools/quickstart.sh`` runs it with pictures.
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
        arch=dict(embed_dims=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
        img_size=64,
        window_size=4,
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=256, out_channels=512, hidden_channels=256),
    region_neck=dict(in_channels=256, out_channels=512, hidden_channels=256),
)

# The paper blurs 224 px by up to 2 px; as much would leave no texture of 64 px.
blur_radius = (0.1, 0.6)
train_pipeline = [
    dict(
        type='MultiCrop',
        views=[
            dict(
                size=64,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=1.0, blur_radius=blur_radius),
            ),
            dict(
                size=64,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=0.1, blur_radius=blur_radius, solarize_prob=0.2),
            ),
            dict(
                size=32,
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
        scale=73,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='BundledPhotos', split='train', pipeline=train_pipeline),
)
knn_dataloader = dict(
    batch_size=128,
    num_workers=0,
    dataset=dict(
        type='BundledPhotos', split='train', pipeline=[dict(type='PackInputs')]
    ),
)
knn_val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    dataset=dict(
        type='BundledPhotos', split='test', pipeline=[dict(type='PackInputs')]
    ),
)

train_cfg = dict(max_epochs=10)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=2),
    dict(_base_.param_scheduler[1], begin=2),
    _base_.param_scheduler[2],
]
custom_hooks = [
    # A short run needs a teacher that follows faster: no more than 1 % of the random
    # weights at the start stay in it.
    dict(type='EMATeacherHook', momentum=0.996, start_share=0.01),
    dict(type='TeacherTempHook', teacher_temp=0.04, warmup_epochs=0),
    dict(type='FreezeLastLayerHook'),
    dict(type='RandomStateHook'),
    dict(type='TrainingMonitorHook'),
    dict(
        type='KNNMonitorHook',
        train_dataloader=knn_dataloader,
        val_dataloader=knn_val_dataloader,
        interval=2,
        ks=(10, 20),
    ),
]
default_hooks = dict(logger=dict(interval=12))
