"""MAE-lite with a small ViT on the 16 photographs of scikit-image and scikit-learn.

    python tools/train.py configs/demo/mae_photos.py

A few minutes on two CPU cores. Crops of 64 px have 64 patches of 8 px, of which 16 are
seen. Its checkpoint is the teacher of dmae_photos.py.
"""

_base_ = [
    'mmpretrain::_base_/models/mae_vit-base-p16.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(
        type='MultiCropDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        _delete_=True,
        type='MAELiteViT',
        arch=dict(embed_dims=192, num_layers=4, num_heads=12, feedforward_channels=384),
        img_size=64,
        patch_size=8,
    ),
    neck=dict(
        type='MAELiteDecoder',
        num_patches=64,
        patch_size=8,
        embed_dim=192,
        decoder_embed_dim=96,
        decoder_depth=1,
        decoder_num_heads=3,
    ),
    head=dict(patch_size=8),
)

train_pipeline = [
    dict(
        type='RandomResizedCrop',
        scale=64,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
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

train_cfg = dict(by_epoch=True, max_epochs=20)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    ),
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        begin=0,
        end=2,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', begin=2, convert_to_iter_based=True),
]
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(
        type='KNNMonitorHook',
        train_dataloader=knn_dataloader,
        val_dataloader=knn_val_dataloader,
        interval=5,
        ks=(10, 20),
    ),
]
default_hooks = dict(logger=dict(interval=12))
# The masks are drawn in each process.
randomness = dict(diff_rank_seed=True)
