"""The paper's linear evaluation on ImageNet-1K (Section 4), all but the backbone.

Last-4-block features of the frozen teacher, SGD without weight decay, learning rate
0.001 x batch / 256, cosine, 100 epochs, batch 1024; and other rates beside it.
"""

_base_ = ['./default_runtime.py']

data_root = 'data/imagenet/'

model = dict(
    type='LinearSweepClassifier',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        num_classes=1000,
    ),
    num_classes=1000,
    num_blocks=4,
    # Times the optimiser's; the paper has 1, for Swin-S 3, for ResNet-50 10.
    lr_factors=(0.3, 1.0, 3.0, 10.0),
)

train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='train',
        pipeline=[
            dict(type='LoadImage', on_error='skip'),
            dict(type='RandomResizedCrop', scale=224, backend='pillow'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='val',
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='ResizeEdge',
                scale=256,
                edge='short',
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='LinearSweepAccuracy', topk=(1, 5))
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# 8 GPUs x 128 images: 0.001 x 1024 / 256
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LinearSweepOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.004, momentum=0.9, weight_decay=0.0),
)
auto_scale_lr = dict(base_batch_size=1024)
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0.0)
custom_hooks = [
    dict(type='RandomStateHook'),
    # Checkpoints say which rate predicts.
    dict(type='BestRateHook'),
    # The paper reports the best of all epochs; the log ends with it and the last.
    dict(type='LastAndBestHook', keys=['accuracy/top*', 'accuracy/x*']),
]
