"""k-NN evaluation of MAE-lite, ViT-Small, on ImageNet-1K.

    python tools/knn.py configs/mae_lite/knn_mae_lite_small.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/mae_lite_small/epoch_400.pth.
"""

_base_ = ['./mae_lite_small.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/mae_lite_small/epoch_400.pth'
