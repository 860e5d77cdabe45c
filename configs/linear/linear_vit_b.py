"""Linear evaluation of DINO, ViT-B with patch 16, L_V on ImageNet-1K.

    tools/dist_train.sh configs/linear/linear_vit_b.py 8

As DINO does for this size: the class token of the last block, and beside it the mean of
its patch tokens. It reads work_dirs/esvit_vit_b_view/epoch_300.pth; another checkpoint
with --cfg-options model.backbone.init_cfg.checkpoint=...
Published: 78.2 % top-1 (DINO, arXiv 2104.14294, Table 2), of DINO's own longer run.
"""

_base_ = ['../_base_/linear_imagenet.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='deit-base',
        out_type='raw',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_vit_b_view/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    ),
    num_blocks=1,
    patch_mean=True,
    in_channels=1536,
)
