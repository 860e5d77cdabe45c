"""MoCo v3, ViT-B, no positions.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_pos_none.py 8 --amp

Published: 74.9 % linear top-1, 76.5 with sin-cos (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

model = dict(backbone=dict(position='none'))
