"""A classifier that trains and validates in about a second."""

_base_ = ['tiny.py']

classes = 3
model = dict(
    _delete_=True,
    type='ImageClassifier',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        num_classes=classes,
    ),
    backbone=dict(
        type='EsViTSwin',
        arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2]),
        img_size=32,
        window_size=4,
        drop_path_rate=0.2,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=classes, in_channels=64),
)
pipeline = [
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='TinyImages', length=12, start=100, pipeline=[dict(type='PackInputs')]
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg = dict(val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.01)
)
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', convert_to_iter_based=True
)
custom_hooks = [dict(type='RandomStateHook')]
