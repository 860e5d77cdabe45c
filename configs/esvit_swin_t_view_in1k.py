"""EsViT, Swin-T, L_V alone on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_swin_t_view_in1k.py 8

The reference of the runs on other data sets, which see as many images.
Published: 77.1 % linear, 73.7 % k-NN top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['_base_/models/swin_t.py', '_base_/imagenet_recipe_b1024.py']

model = dict(region_neck=None, region_head=None)
