"""k-NN evaluation of EsViT, ViL-T, L_V, batch 512, on ImageNet-1K.

    python tools/knn.py configs/knn/knn_vil_t_view.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_vil_t_view/epoch_300.pth.
Published: 73.9 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_vil_t_view.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_vil_t_view/epoch_300.pth'
