"""k-NN evaluation of DINO, ViT-B with patch 16, L_V on ImageNet-1K.

    python tools/knn.py configs/knn/knn_vit_b.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_vit_b_view/epoch_300.pth.
Published: 76.1 % k-NN top-1 (DINO, arXiv 2104.14294, Table 2), of DINO's own longer run.
"""

_base_ = ['../esvit_vit_b_view.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_vit_b_view/epoch_300.pth'
