"""k-NN evaluation of MoCo v3, ViT-Tiny on ImageNet-1K.

    python tools/knn.py configs/mocov3/evaluation/knn_mocov3_vit_t.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/mocov3_vit_t/epoch_400.pth. No number is published.
"""

_base_ = ['../mocov3_vit_t.py', '../../_base_/knn_imagenet.py']

load_from = 'work_dirs/mocov3_vit_t/epoch_400.pth'
