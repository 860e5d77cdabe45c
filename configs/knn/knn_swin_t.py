"""k-NN evaluation of EsViT, Swin-T, L_V + L_R on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_t.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_t/milestone_280.pth, the epoch
of the published number.
Published: 75.7 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_swin_t.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_swin_t/milestone_280.pth'
