"""MoCo v3, ViT-S with a stem of convolutions and 11 blocks, on ImageNet-1K.

    NNODES=2 tools/dist_train.sh configs/mocov3/mocov3_vit_conv_s.py 8 --amp

The authors' variant without a patch projection: four 3 x 3 convolutions of stride 2 from
an eighth of the width, and one of 1 x 1. It has no published accuracy.
"""

_base_ = ['./mocov3_vit_s.py']

model = dict(
    backbone=dict(arch='mocov3-conv-small', conv_stem=True, stop_grad_conv1=False)
)
