"""SimMIM (arXiv 2111.09886), Swin-T, on ImageNet-1K, 100 epochs, batch 2048.

    tools/dist_train.sh configs/simmim/simmim_swin_t.py 8 --amp

MAE drops patches, which only plain ViTs allow; SimMIM is mmpretrain's masked method for
Swin. The recipe is mmpretrain's for Swin-B, on images of 192 pixels with windows of 6.

    python tools/knn.py configs/simmim/simmim_swin_t.py work_dirs/simmim_swin_t/epoch_100.pth
    tools/dist_train.sh configs/finetune/finetune_swin_t.py 8 --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/simmim_swin_t/epoch_100.pth model.backbone.init_cfg.prefix=backbone.

Neither the paper nor mmpretrain reports Swin-T.
"""

_base_ = ['../_base_/datasets/imagenet_multicrop.py', '../_base_/default_runtime.py']

model = dict(
    type='SimMIM',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='SimMIMSwinTransformer',
        arch='tiny',
        img_size=192,
        stage_cfgs=dict(block_cfgs=dict(window_size=6)),
    ),
    neck=dict(type='SimMIMLinearDecoder', in_channels=768, encoder_stride=32),
    head=dict(
        type='SimMIMHead',
        patch_size=4,
        loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3),
    ),
)

train_pipeline = [
    dict(type='LoadImage', on_error='skip'),
    dict(type='RandomResizedCrop', scale=192, crop_ratio_range=(0.67, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='SimMIMMaskGenerator',
        input_size=192,
        mask_patch_size=32,
        model_patch_size=4,
        mask_ratio=0.6,
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    # 8 GPUs x 256 images: 2e-4 x 2048 / 512
    optimizer=dict(
        type='AdamW', lr=8e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True
    ),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'relative_position_bias_table': dict(decay_mult=0.0)},
    ),
)
auto_scale_lr = dict(base_batch_size=2048, enable=False)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=5e-3,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=4e-5, begin=10, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
custom_hooks = [dict(type='RandomStateHook')]
