"""A linear probe of the demo's teacher: a plain mmpretrain classifier.

    python tools/train.py configs/demo/linear_swin_photos.py

It reads work_dirs/esvit_swin_photos/epoch_10.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
"""

_base_ = ['../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        num_classes=16,
    ),
    backbone=dict(
        type='EsViTSwin',
        arch=dict(embed_dims=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
        img_size=64,
        window_size=4,
        frozen_stages=3,
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_swin_photos/epoch_10.pth',
            prefix='teacher.backbone.',
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=16,
        in_channels=256,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, 5),
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='BundledPhotos',
        split='train',
        pipeline=[
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='BundledPhotos', split='test', pipeline=[dict(type='PackInputs')]
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0))
param_scheduler = dict(type='CosineAnnealingLR', end=20, convert_to_iter_based=True)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(logger=dict(interval=12))
