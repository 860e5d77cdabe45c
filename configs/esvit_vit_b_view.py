"""DINO: ViT-B with patch 16, L_V alone on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_vit_b_view.py 8

The recipe is that of esvit_deit_s_view.py. DINO's own run of ViT-B/16 is longer (400
epochs) and has 10 local views, global views of 0.25 to 1 of the image, local ones of
0.05 to 0.25, a learning rate of 7.5e-4 x batch / 256 down to 2e-6, gradients clipped
to 0.3, a frozen last layer for 3 epochs and a teacher temperature that warms up for
50. It is published with 78.2 % linear, 76.1 % k-NN top-1 (DINO, arXiv 2104.14294,
Table 2).
"""

_base_ = ['_base_/models/vit_b.py', '_base_/imagenet_recipe_b1024.py']

model = dict(region_neck=None, region_head=None)
