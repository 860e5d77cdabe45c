"""MoCo v3, ViT-Tiny with patch 16 and 12 heads, on ImageNet-1K, 400 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/mocov3_vit_t.py 8 --amp

As MAE-lite trains it to compare with (arXiv 2205.14443): the patch projection is trained.
Published: 76.8 % fine-tuned (its later version).
"""

_base_ = ['../_base_/mocov3_imagenet.py']

model = dict(
    backbone=dict(
        type='MoCoV3VisionTransformer',
        arch='mocov3-tiny',
        img_size=224,
        patch_size=16,
        stop_grad_conv1=False,
    ),
    neck=dict(in_channels=192, with_avg_pool=False),
)
train_cfg = dict(max_epochs=400)
