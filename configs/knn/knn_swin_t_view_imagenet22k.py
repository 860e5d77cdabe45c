"""k-NN evaluation of EsViT, Swin-T, L_V of ImageNet-22K, on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_t_view_imagenet22k.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_t_view_imagenet22k/epoch_30.pth.
Published: 66.1 % k-NN top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['../esvit_swin_t_view_imagenet22k.py', '../_base_/knn_imagenet.py']

# Of the images that vote and that are classified, not of the pre-training's.
data_root = 'data/imagenet/'

load_from = 'work_dirs/esvit_swin_t_view_imagenet22k/epoch_30.pth'
