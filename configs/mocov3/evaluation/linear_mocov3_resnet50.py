"""Linear evaluation of MoCo v3, ResNet-50 on ImageNet-1K, 90 epochs.

    tools/dist_train.sh configs/mocov3/evaluation/linear_mocov3_resnet50.py 8

It reads work_dirs/mocov3_resnet50/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 72.8 % top-1 (the authors' program, CONFIG.md).
"""

_base_ = ['../../_base_/mocov3_linear.py']

model = dict(
    backbone=dict(
        type='ResNet',
        depth=50,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mocov3_resnet50/epoch_300.pth',
            prefix='backbone.',
        ),
    ),
    in_channels=2048,
)
# 0.1 x 1024 / 256
optim_wrapper = dict(optimizer=dict(lr=0.4))
