"""k-NN evaluation of EsViT, Swin-S, L_V + L_R on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_s.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_s/milestone_280.pth, the epoch
of the published number.
Published: 77.7 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_swin_s.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_swin_s/milestone_280.pth'
