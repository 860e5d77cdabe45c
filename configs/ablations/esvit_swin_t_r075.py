"""Ablation of EsViT, Swin-T, L_V + L_R: the region loss has weight 0.75 instead of 0.5.
    tools/dist_train.sh configs/ablations/esvit_swin_t_r075.py 8

Everything else is that of esvit_swin_t.py.
"""

_base_ = ['../esvit_swin_t.py']

model = dict(region_weight=0.75)
