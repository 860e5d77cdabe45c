"""k-NN evaluation of EsViT, Swin-S, L_V on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_s_view.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_s_view/epoch_300.pth.
Published: 76.9 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_swin_s_view.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_swin_s_view/epoch_300.pth'
