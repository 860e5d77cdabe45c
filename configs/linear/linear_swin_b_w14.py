"""Linear evaluation of EsViT, Swin-B, window 14, L_V + L_R on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_swin_b_w14.py 8

It reads work_dirs/esvit_swin_b_w14/milestone_240.pth, the epoch of the published
number; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 81.3 % top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['../_base_/linear_imagenet.py']

model = dict(
    backbone=dict(
        type='EsViTSwin',
        arch='base',
        window_size=14,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_swin_b_w14/milestone_240.pth',
            prefix='teacher.backbone.',
        ),
    ),
    in_channels=3072,
)
