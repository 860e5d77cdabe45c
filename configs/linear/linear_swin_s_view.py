"""Linear evaluation of EsViT, Swin-S, L_V on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_swin_s_view.py 8

It reads work_dirs/esvit_swin_s_view/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 79.2 % top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./linear_swin_s.py']

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/esvit_swin_s_view/epoch_300.pth'))
)
