"""Linear evaluation of MoCo v3, ViT-L on ImageNet-1K, 90 epochs.

    tools/dist_train.sh configs/mocov3/evaluation/linear_mocov3_vit_l.py 8

It reads work_dirs/mocov3_vit_l/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 77.6 % top-1 (arXiv 2104.02057).
"""

_base_ = ['../../_base_/mocov3_linear.py']

model = dict(
    backbone=dict(
        type='MoCoV3VisionTransformer',
        arch='large',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mocov3_vit_l/epoch_300.pth',
            prefix='backbone.',
        ),
    ),
    in_channels=1024,
)
