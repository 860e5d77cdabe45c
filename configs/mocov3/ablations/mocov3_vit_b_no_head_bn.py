"""MoCo v3, ViT-B, no batch norm in projector and predictor.

    NNODES=2 tools/dist_train.sh configs/mocov3/ablations/mocov3_vit_b_no_head_bn.py 8 --amp

Published: 74.4 % linear top-1, 76.5 with it (arXiv 2104.02057).
"""

_base_ = ['../mocov3_vit_b.py']

norm_cfg = dict(_delete_=True, type='torch.nn.Identity')
model = dict(
    neck=dict(with_last_bn=False, norm_cfg=norm_cfg),
    head=dict(predictor=dict(with_last_bn=False, norm_cfg=norm_cfg)),
)
