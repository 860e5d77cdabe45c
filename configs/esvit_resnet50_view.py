"""EsViT, ResNet-50, L_V alone on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_resnet50_view.py 8

Published: 75.0 % linear, 69.1 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./esvit_resnet50.py']

model = dict(region_neck=None, region_head=None)
