"""k-NN evaluation of EsViT, Swin-T, window 14, L_V + L_R on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_t_w14.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_t_w14/epoch_300.pth.
Published: 77.0 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_swin_t_w14.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_swin_t_w14/epoch_300.pth'
