"""EsViT, DeiT-S with patch 16, L_V + L_R on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_deit_s.py 8

A monolithic transformer, for comparison: the class token is the view.
"""

_base_ = ['_base_/models/deit_s.py', '_base_/imagenet_recipe_b1024.py']
