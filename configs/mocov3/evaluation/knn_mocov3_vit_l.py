"""k-NN evaluation of MoCo v3, ViT-L on ImageNet-1K.

    python tools/knn.py configs/mocov3/evaluation/knn_mocov3_vit_l.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/mocov3_vit_l/epoch_300.pth. No number is published.
"""

_base_ = ['../mocov3_vit_l.py', '../../_base_/knn_imagenet.py']

load_from = 'work_dirs/mocov3_vit_l/epoch_300.pth'
