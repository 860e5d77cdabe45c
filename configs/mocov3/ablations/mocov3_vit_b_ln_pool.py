"""MoCo v3, ViT-B, no class token, patch tokens pooled after the last norm.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_ln_pool.py 8 --amp

Published: 69.7 % linear top-1, 76.5 with the class token (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

model = dict(
    backbone=dict(with_cls_token=False, out_type='featmap'),
    neck=dict(with_avg_pool=True),
)
