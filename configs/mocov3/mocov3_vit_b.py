"""MoCo-v3, ViT-B with patch 16, on ImageNet-1K, 300 epochs, batch 4096.

On two machines, each with MASTER_ADDR of the first and its own NODE_RANK, 0 or 1:

    NNODES=2 tools/dist_train.sh configs/mocov3/mocov3_vit_b.py 8 --amp

k-NN evaluation:

    python tools/knn.py configs/mocov3/mocov3_vit_b.py work_dirs/mocov3_vit_b/epoch_300.pth

Published: 76.7 % linear top-1 (the authors' program, CONFIG.md).
"""

_base_ = ['./mocov3_deit_s.py']

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768))
