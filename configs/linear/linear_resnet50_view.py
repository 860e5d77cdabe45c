"""Linear evaluation of EsViT, ResNet-50, L_V on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_resnet50_view.py 8

It reads work_dirs/esvit_resnet50_view/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 75.0 % top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./linear_resnet50.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/esvit_resnet50_view/epoch_300.pth')
    )
)
