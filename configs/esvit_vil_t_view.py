"""EsViT, ViL-T, L_V alone on ImageNet-1K, 300 epochs, batch 512.

    tools/dist_train.sh configs/esvit_vil_t_view.py 8

The run of the paper's k-NN accuracy and of the released checkpoint, in which each chunk
attends to all its neighbours throughout ("mode 0"). The linear accuracy that stands beside
it in the paper, 77.3 %, is of another run, esvit_vil_t_view_b1024.py.

Published: 73.9 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['_base_/models/vil_t.py', '_base_/imagenet_recipe.py']

model = dict(region_neck=None, region_head=None)
