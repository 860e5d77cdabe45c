"""Ablation of EsViT, Swin-T, L_V + L_R: 16384 prototypes instead of 65536.
    tools/dist_train.sh configs/ablations/esvit_swin_t_k16384.py 8

Everything else is that of esvit_swin_t.py.
"""

_base_ = ['../esvit_swin_t.py']

num_prototypes = 16384
model = dict(
    neck=dict(out_channels=num_prototypes),
    region_neck=dict(out_channels=num_prototypes),
)
