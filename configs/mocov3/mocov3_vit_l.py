"""MoCo v3, ViT-L with patch 16, on ImageNet-1K, 300 epochs, batch 4096.

On eight machines, each with MASTER_ADDR of the first and its own NODE_RANK:

    NNODES=8 tools/dist_train.sh configs/mocov3/mocov3_vit_l.py 8 --amp

Published: 77.6 % linear top-1, 84.1 % fine-tuned (arXiv 2104.02057).
"""

_base_ = ['./mocov3_vit_s.py']

model = dict(backbone=dict(arch='large'), neck=dict(in_channels=1024))
# 64 GPUs x 64 images
train_dataloader = dict(batch_size=64)
