"""k-NN evaluation of MAE-lite, ViT-Tiny, on ImageNet-1K.

    python tools/knn.py configs/mae_lite/knn_mae_lite_tiny.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/mae_lite_tiny/epoch_400.pth.
"""

_base_ = ['./mae_lite_tiny.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/mae_lite_tiny/epoch_400.pth'
