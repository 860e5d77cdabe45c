"""Linear evaluation of EsViT, Swin-T, L_V, batch 1024, on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_swin_t_view_in1k.py 8

It reads work_dirs/esvit_swin_t_view_in1k/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 77.1 % top-1 (arXiv 2106.09785, Table 4).
"""

_base_ = ['./linear_swin_t.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/esvit_swin_t_view_in1k/epoch_300.pth')
    )
)
