"""DINO: DeiT-S with patch 16, L_V alone on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_deit_s_view.py 8

Published: 77.0 % linear, 74.5 % k-NN top-1 (arXiv 2106.09785, Table 1; DINO, arXiv
2104.14294), which is DINO's longer run. The README of its program has 76.1 % and 73.3 %
for 300 epochs, which is this recipe.
"""

_base_ = ['./esvit_deit_s.py']

model = dict(region_neck=None, region_head=None)
