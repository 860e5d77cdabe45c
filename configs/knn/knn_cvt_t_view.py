"""k-NN evaluation of EsViT, CvT-T, L_V on ImageNet-1K.

    python tools/knn.py configs/knn/knn_cvt_t_view.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_cvt_t_view/epoch_300.pth.
Published: 74.8 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_cvt_t_view.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_cvt_t_view/epoch_300.pth'
