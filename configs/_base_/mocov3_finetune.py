"""Fine-tuning of MoCo v3's ViTs on ImageNet-1K by DeiT's recipe, all but the backbone.

AdamW, learning rate 5e-4 x batch / 512, weight decay 0.05 but for norms, biases, class
token and positions, batch 1024, 5 epochs of warm-up; repeated augmentation, RandAugment,
random erasing, mixup, CutMix, label smoothing and stochastic depth 0.1. No layer decay.
"""

_base_ = ['./finetune_imagenet.py']

model = dict(
    # The head takes the class token.
    neck=None,
)
train_dataloader = dict(sampler=dict(type='RepeatAugSampler', shuffle=True))
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    # 8 GPUs x 128 images: 5e-4 x 1024 / 512
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True
    ),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, convert_to_iter_based=True),
]
