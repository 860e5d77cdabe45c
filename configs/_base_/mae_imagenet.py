"""MAE (arXiv 2111.06377) on ImageNet-1K: mmpretrain's ViT-B and its 300 epochs.

AdamW(0.9, 0.95), learning rate 1.5e-4 x batch / 256, weight decay 0.05, 40 epochs of
warm-up; three quarters of the patches are masked, and normalised pixels predicted.
"""

_base_ = [
    'mmpretrain::_base_/models/mae_vit-base-p16.py',
    './datasets/imagenet_multicrop.py',
    './schedules/warmup40_300e.py',
    './default_runtime.py',
]

model = dict(
    data_preprocessor=dict(
        type='MultiCropDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    )
)
train_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=512, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    # 8 GPUs x 512 images: 1.5e-4 x 4096 / 256
    optimizer=dict(
        type='AdamW', lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    ),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'pos_embed': dict(decay_mult=0.0),
            'mask_token': dict(decay_mult=0.0),
            'cls_token': dict(decay_mult=0.0),
        },
    ),
)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
custom_hooks = [dict(type='RandomStateHook')]
# The masks are drawn on each GPU.
randomness = dict(diff_rank_seed=True)
