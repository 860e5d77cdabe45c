"""MoCo v3, ViT-B with patch 16, on ImageNet-1K, 300 epochs, batch 4096.

On two machines, each with MASTER_ADDR of the first and its own NODE_RANK, 0 or 1:

    NNODES=2 tools/dist_train.sh configs/mocov3/mocov3_vit_b.py 8 --amp

Published: 76.7 % linear top-1, 83.2 % fine-tuned (arXiv 2104.02057).
"""

_base_ = ['./mocov3_vit_s.py']

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768))
