"""Linear evaluation of MoCo v3, ViT-Tiny on ImageNet-1K, 90 epochs.

    tools/dist_train.sh configs/mocov3/evaluation/linear_mocov3_vit_t.py 8

It reads work_dirs/mocov3_vit_t/epoch_400.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
The recipe is that of the larger ones (arXiv 2104.02057); no number is published.
"""

_base_ = ['../../_base_/mocov3_linear.py']

model = dict(
    backbone=dict(
        type='MoCoV3VisionTransformer',
        arch='mocov3-tiny',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mocov3_vit_t/epoch_400.pth',
            prefix='backbone.',
        ),
    ),
    in_channels=192,
)
