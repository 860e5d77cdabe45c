"""Linear evaluation of EsViT, DeiT-S, L_V on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_deit_s.py 8

It reads work_dirs/esvit_deit_s_view/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 77.0 % top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../_base_/linear_imagenet.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='deit-small',
        out_type='raw',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_deit_s_view/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    ),
    in_channels=1536,
)
