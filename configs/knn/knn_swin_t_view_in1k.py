"""k-NN evaluation of EsViT, Swin-T, L_V, batch 1024, on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_t_view_in1k.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_t_view_in1k/milestone_280.pth, the epoch of the
published number.
Published: 73.7 % k-NN top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['../esvit_swin_t_view_in1k.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_swin_t_view_in1k/milestone_280.pth'
