"""EsViT, Swin-S, window 7, L_V + L_R on ImageNet-1K, 300 epochs, batch 512.

    tools/dist_train.sh configs/esvit_swin_s.py 8

Published: 79.5 % linear, 77.7 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['_base_/models/swin_s.py', '_base_/imagenet_recipe.py']
