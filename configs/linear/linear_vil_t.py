"""Linear evaluation of EsViT, ViL-T, L_V + L_R on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_vil_t.py 8

It reads work_dirs/esvit_vil_t/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 77.5 % top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../_base_/linear_imagenet.py']

model = dict(
    backbone=dict(
        type='ViL',
        arch='tiny',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_vil_t/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    ),
    in_channels=2304,
)
