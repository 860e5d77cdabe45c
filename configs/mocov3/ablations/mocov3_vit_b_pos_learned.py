"""MoCo v3, ViT-B, learned positions.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_pos_learned.py 8 --amp

Published: 76.1 % linear top-1, 76.5 with sin-cos (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

model = dict(backbone=dict(position='learned'))
