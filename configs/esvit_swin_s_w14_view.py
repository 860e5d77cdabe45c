"""EsViT, Swin-S, window 14, L_V alone: the first phase of esvit_swin_s_w14.py.

tools/dist_train.sh configs/esvit_swin_s_w14_view.py 8
"""

_base_ = ['./esvit_swin_s_w14.py']

model = dict(region_neck=None, region_head=None)

# The second phase begins with this one.
default_hooks = dict(milestone=dict(save_begin=180))
