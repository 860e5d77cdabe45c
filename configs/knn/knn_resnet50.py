"""k-NN evaluation of EsViT, ResNet-50, L_V + L_R on ImageNet-1K.

    python tools/knn.py configs/knn/knn_resnet50.py [CHECKPOINT]

Without CHECKPOINT it reads work_dirs/esvit_resnet50/epoch_300.pth.
Published: 71.3 % k-NN top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../esvit_resnet50.py', '../_base_/knn_imagenet.py']

load_from = 'work_dirs/esvit_resnet50/epoch_300.pth'
