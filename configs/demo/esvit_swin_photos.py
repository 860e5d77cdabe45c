"""A small EsViT on the 16 photographs that scikit-image and scikit-learn ship.

    python tools/train.py configs/demo/esvit_swin_photos.py

A few minutes on two CPU cores. ``bash tools/quickstart.sh`` runs it with pictures.
"""

_base_ = [
    '../_base_/models/esvit_swin_t.py',
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
    ),
    neck=dict(in_channels=256, out_channels=1024, hidden_channels=512),
    head=dict(out_channels=1024),
    region_neck=dict(in_channels=256, out_channels=1024, hidden_channels=512),
    region_head=dict(out_channels=1024),
)

train_pipeline = [
    dict(
        type='MultiCrop',
        views=[
            dict(size=64, scale=(0.4, 1.0), num_views=1, augment=dict(blur_prob=1.0)),
            dict(
                size=64,
                scale=(0.4, 1.0),
                num_views=1,
                augment=dict(blur_prob=0.1, solarize_prob=0.2),
            ),
            dict(size=32, scale=(0.05, 0.4), num_views=4, augment=dict(blur_prob=0.5)),
        ],
    ),
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

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, end=2, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=2,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    # A short run needs a teacher that follows faster.
    dict(type='EMATeacherHook', momentum=0.99),
    dict(type='TeacherTempHook', teacher_temp=0.04, warmup_epochs=0),
    dict(type='FreezeLastLayerHook'),
    dict(type='RandomStateHook'),
    dict(type='TrainingMonitorHook'),
    dict(
        type='KNNMonitorHook',
        train_dataloader=knn_dataloader,
        val_dataloader=knn_val_dataloader,
        interval=4,
        ks=(10, 20),
    ),
]
default_hooks = dict(logger=dict(interval=12))
