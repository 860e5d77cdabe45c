"""Linear evaluation of EsViT, Swin-T, L_V of WebVision-v1, on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_swin_t_view_webvision.py 8

It reads work_dirs/esvit_swin_t_view_webvision/epoch_150.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 75.4 % top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['./linear_swin_t.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/esvit_swin_t_view_webvision/epoch_150.pth')
    )
)
