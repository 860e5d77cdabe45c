"""EsViT, Swin-T, window 7, L_V alone on ImageNet-1K, 300 epochs, batch 512.

    tools/dist_train.sh configs/esvit_swin_t_view.py 8

Published: 77.0 % linear, 74.2 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./esvit_swin_t.py']

model = dict(region_neck=None, region_head=None)
