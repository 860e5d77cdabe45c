"""MoCo v3, ResNet-50, on ImageNet-1K, 1000 epochs, batch 4096.

    tools/dist_train.sh configs/mocov3/mocov3_resnet50_1000e.py 8 --amp

Published: 74.6 % linear top-1 (the authors' program, CONFIG.md).
"""

_base_ = ['./mocov3_resnet50.py']

# m from 0.996
model = dict(base_momentum=0.004)
optim_wrapper = dict(optimizer=dict(weight_decay=1.5e-6))
train_cfg = dict(max_epochs=1000)
