"""Fine-tuning of MAE-lite, ViT-Tiny, on ImageNet-1K: the default recipe, batch 1024.

    tools/dist_train.sh configs/mae_lite/finetune_mae_lite_tiny.py 8 --amp

It reads work_dirs/mae_lite_tiny/epoch_400.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
AdamW, learning rate 1e-3 x batch / 256, lower by 0.85 with every layer towards the input,
weight decay 0.05, 5 epochs of warm-up, cosine to 1e-6. The mean of the patch tokens,
normalised, is classified. The epochs are MAE's, 100.
Published: 76.1 % top-1 (arXiv 2205.14443).
"""

_base_ = ['../_base_/finetune_imagenet.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=192, num_layers=12, num_heads=12, feedforward_channels=768
        ),
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        # The mean is normalised instead of the tokens.
        out_type='avg_featmap',
        final_norm=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mae_lite_tiny/epoch_400.pth',
            prefix='backbone.',
        ),
    ),
    neck=None,
    head=dict(
        in_channels=192, init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5)
    ),
)
optim_wrapper = dict(
    # 8 GPUs x 128 images: 1e-3 x 1024 / 256
    optimizer=dict(lr=4e-3),
    clip_grad=None,
    paramwise_cfg=dict(layer_decay_rate=0.85),
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
