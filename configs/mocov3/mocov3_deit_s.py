"""MoCo-v3, DeiT-S with patch 16, on ImageNet-1K, 300 epochs, batch 4096.

On two machines, each with MASTER_ADDR of the first and its own NODE_RANK, 0 or 1:

    NNODES=2 tools/dist_train.sh configs/mocov3/mocov3_deit_s.py 8 --amp

or on one, with the authors' other batch, 8 GPUs x 128 images:

    tools/dist_train.sh configs/mocov3/mocov3_deit_s.py 8 --amp --auto-scale-lr --cfg-options train_dataloader.batch_size=128

For its evaluation see mocov3_swin_t.py, and take the configs of this backbone.
Published: 73.2 % linear top-1 (the authors' program, CONFIG.md), of a ViT-S with 12
heads, mmpretrain's arch='mocov3-small'; this one has DeiT's 6, so that its weights
fit the other configs.
"""

_base_ = ['../_base_/mocov3_imagenet.py']

model = dict(
    backbone=dict(
        type='MoCoV3ViT',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        stop_grad_conv1=True,
    ),
    # It projects the class token.
    neck=dict(in_channels=384, with_avg_pool=False),
)

# 16 GPUs x 256 images: 1.5e-4 x 4096 / 256
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=2.4e-3))
auto_scale_lr = dict(base_batch_size=4096)
# mmpretrain freezes the position embedding only after the model was distributed.
find_unused_parameters = True
