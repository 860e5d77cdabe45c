"""k-NN evaluation of EsViT, ResNet-50, L_V on ImageNet-1K.

    python tools/knn.py configs/knn/knn_resnet50_view.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_resnet50_view/epoch_300.pth.
Published: 69.1 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_resnet50_view.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_resnet50_view/epoch_300.pth'
