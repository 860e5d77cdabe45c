"""k-NN evaluation of EsViT, Swin-B, L_V on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_b_view.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_b_view/epoch_300.pth.
Published: 77.7 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_swin_b_view.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_swin_b_view/epoch_300.pth'
