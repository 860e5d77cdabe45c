"""MoCo v3, ViT-B, m = 0.999.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_m0999.py 8 --amp

Published: 75.0 % linear top-1, 76.5 with m = 0.99 (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

model = dict(base_momentum=0.001)
