"""Linear evaluation of EsViT, ViL-T, L_V, batch 1024, on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_vil_t_view_b1024.py 8

It reads work_dirs/esvit_vil_t_view_b1024/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 77.3 % top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./linear_vil_t.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/esvit_vil_t_view_b1024/epoch_300.pth')
    )
)
