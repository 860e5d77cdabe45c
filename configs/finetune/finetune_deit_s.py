"""Fine-tuning of DINO, DeiT-S, L_V on ImageNet-1K, 100 epochs, batch 1024.

    tools/dist_train.sh configs/finetune/finetune_deit_s.py 8 --amp

It reads work_dirs/esvit_deit_s_view/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
The recipe is mmpretrain's for a self-supervised ViT-B (its configs/mae/benchmarks).
"""

_base_ = ['../_base_/finetune_imagenet.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_deit_s_view/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    ),
    # The head takes the class token.
    neck=None,
    head=dict(in_channels=384),
)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    clip_grad=None,
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=5, convert_to_iter_based=True),
]
