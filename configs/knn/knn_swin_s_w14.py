"""k-NN evaluation of EsViT, Swin-S, window 14, L_V + L_R on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_s_w14.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_s_w14/milestone_250.pth, the epoch
of the published number.
Published: 79.1 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_swin_s_w14.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_swin_s_w14/milestone_250.pth'
