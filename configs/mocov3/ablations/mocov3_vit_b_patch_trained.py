"""MoCo v3, ViT-B, the patch projection trained, 100 epochs.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_patch_trained.py 8 --amp

Published: 1.7 % less linear top-1 than with the frozen one (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

model = dict(backbone=dict(stop_grad_conv1=False))
train_cfg = dict(max_epochs=100)
