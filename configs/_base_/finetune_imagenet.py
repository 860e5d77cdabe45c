"""Fine-tuning of a whole network on ImageNet-1K, all but the backbone.

mmpretrain's recipe for a self-supervised Swin (its configs/simmim/benchmarks): AdamW,
learning rate 1.25e-3 x batch / 512, lower by 0.9 with every layer towards the input, 20
of 100 epochs of warm-up, gradients clipped to 5; RandAugment, random erasing, mixup,
CutMix and label smoothing.
"""

_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    './default_runtime.py',
]

# The folder that mmpretrain's data sets name, for --cfg-options data_root=...
data_root = 'data/imagenet'

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        num_classes=1000,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
)

# mmpretrain's, but a damaged file is named: to train on it is left out.
train_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    *_base_.train_pipeline[1:],
]
test_pipeline = [dict(type='LoadImage'), *_base_.test_pipeline[1:]]

train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128, num_workers=10, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader

optim_wrapper = dict(
    type='OptimWrapper',
    # 8 GPUs x 128 images: 1.25e-3 x 1024 / 512
    optimizer=dict(
        type='AdamW', lr=2.5e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True
    ),
    clip_grad=dict(max_norm=5.0),
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            '.relative_position_bias_table': dict(decay_mult=0.0),
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        },
    ),
)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=2e-4,
        begin=0,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=5e-7, begin=20, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=10)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [dict(type='RandomStateHook')]
# Each process draws mixup, CutMix and stochastic depth of its own.
randomness = dict(diff_rank_seed=True)
