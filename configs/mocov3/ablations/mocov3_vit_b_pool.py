"""MoCo v3, ViT-B, no class token and no last norm, patch tokens pooled.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_pool.py 8 --amp

Published: 76.3 % linear top-1, 76.5 with the class token (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

model = dict(
    backbone=dict(with_cls_token=False, out_type='featmap', final_norm=False),
    neck=dict(with_avg_pool=True),
)
