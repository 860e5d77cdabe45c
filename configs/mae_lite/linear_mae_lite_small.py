"""Linear evaluation of MAE-lite, ViT-Small, on ImageNet-1K, with EsViT's recipe.

    tools/dist_train.sh configs/mae_lite/linear_mae_lite_small.py 8

It reads work_dirs/mae_lite_small/epoch_400.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
"""

_base_ = ['../_base_/linear_imagenet.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536
        ),
        out_type='raw',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mae_lite_small/epoch_400.pth',
            prefix='backbone.',
        ),
    ),
    in_channels=1536,
)
