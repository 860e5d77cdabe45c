"""MoCo v3, ViT-S with patch 16 and 12 heads, on ImageNet-1K, 300 epochs, batch 4096.

On two machines, each with MASTER_ADDR of the first and its own NODE_RANK, 0 or 1:

    NNODES=2 tools/dist_train.sh configs/mocov3/mocov3_vit_s.py 8 --amp

or on one, with the authors' other batch, 8 GPUs x 128 images:

    tools/dist_train.sh configs/mocov3/mocov3_vit_s.py 8 --amp --auto-scale-lr --cfg-options train_dataloader.batch_size=128

Evaluate it with the configs of evaluation/: those of DeiT-S have 6 heads and refuse it.
Published: 73.2 % linear top-1, 81.4 % fine-tuned (arXiv 2104.02057).
"""

_base_ = ['../_base_/mocov3_imagenet.py']

model = dict(
    backbone=dict(
        type='MoCoV3VisionTransformer',
        arch='mocov3-small',
        img_size=224,
        patch_size=16,
        # The patch projection keeps its random weights.
        stop_grad_conv1=True,
    ),
    # It projects the class token.
    neck=dict(in_channels=384, with_avg_pool=False),
)

# 16 GPUs x 256 images: 1.5e-4 x 4096 / 256
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=2.4e-3))
auto_scale_lr = dict(base_batch_size=4096)
