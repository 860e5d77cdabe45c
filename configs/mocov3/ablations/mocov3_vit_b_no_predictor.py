"""MoCo v3, ViT-B, no predictor.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_no_predictor.py 8 --amp

Published: 75.5 % linear top-1, 76.5 with it (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

model = dict(head=dict(predictor=dict(_delete_=True, type='torch.nn.Identity')))
