"""EsViT, Swin-B, window 7, L_V alone on ImageNet-1K, 300 epochs, batch 512.

    tools/dist_train.sh configs/esvit_swin_b_view.py 8

Published: 79.6 % linear, 77.7 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./esvit_swin_b.py']

model = dict(region_neck=None, region_head=None)
