"""k-NN evaluation of EsViT, Swin-T, L_V of WebVision-v1, on ImageNet-1K.

    python tools/knn.py configs/knn/knn_swin_t_view_webvision.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_swin_t_view_webvision/epoch_150.pth.
Published: 69.4 % k-NN top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['../esvit_swin_t_view_webvision.py', '../_base_/knn_imagenet.py']

# Of the images that vote and that are classified, not of the pre-training's.
data_root = 'data/imagenet/'

load_from = 'work_dirs/esvit_swin_t_view_webvision/epoch_150.pth'
