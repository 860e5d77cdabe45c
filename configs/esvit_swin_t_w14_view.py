"""EsViT, Swin-T, window 14, L_V alone: the first phase of esvit_swin_t_w14.py.

tools/dist_train.sh configs/esvit_swin_t_w14_view.py 8
"""

_base_ = ['./esvit_swin_t_w14.py']

model = dict(region_neck=None, region_head=None)
