"""ResNet-50 trained on ImageNet-1K's labels, 100 epochs.

    python tools/transfer.py configs/esvit_resnet50.py work_dirs/esvit_resnet50/epoch_300.pth --against configs/supervised/supervised_resnet50.py resnet50_8xb32_in1k_20210831-ea4938fc.pth

The checkpoint is mmpretrain's resnet50_8xb32_in1k:
https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth
torchvision's files, such as resnet50-0676ba61.pth, are taken too.
Published: 76.55 % top-1 (mmpretrain's metafile).
"""

_base_ = ['mmpretrain::resnet/resnet50_8xb32_in1k.py']

custom_imports = dict(imports=['esvit_plugin'])
