"""EsViT, CvT-T, L_V alone on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_cvt_t_view.py 8

Published: 77.6 % linear, 74.8 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./esvit_cvt_t.py']

model = dict(region_neck=None, region_head=None)
