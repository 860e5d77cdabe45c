"""Linear evaluation of EsViT, ResNet-50, L_V + L_R on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_resnet50.py 8

It reads work_dirs/esvit_resnet50/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 75.7 % top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../_base_/linear_imagenet.py']

model = dict(
    backbone=dict(
        type='ResNet',
        depth=50,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_resnet50/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    ),
    # A ResNet gives its pooled last map.
    in_channels=2048,
)
