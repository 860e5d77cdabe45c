"""MoCo v3, ResNet-50, on ImageNet-1K, 100 epochs, batch 4096, learning rate 0.6.

    tools/dist_train.sh configs/mocov3/mocov3_resnet50_100e.py 8 --amp

Published: 68.9 % linear top-1 (the authors' program, CONFIG.md).
"""

_base_ = ['./mocov3_resnet50.py']

# 0.6 x 4096 / 256
optim_wrapper = dict(optimizer=dict(lr=9.6))
train_cfg = dict(max_epochs=100)
