"""Ablation of EsViT, Swin-T, L_V + L_R: L_R alone.
    tools/dist_train.sh configs/ablations/esvit_swin_t_r1.py 8

Everything else is that of esvit_swin_t.py.
"""

_base_ = ['../esvit_swin_t.py']

model = dict(region_weight=1)
