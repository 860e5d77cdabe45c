"""Mask R-CNN of mmdet on EsViT's Swin-T, COCO, 3x schedule (36 epochs).

It differs from mmdet's own config, which is the supervised baseline, in the backbone
alone. It reads work_dirs/esvit_swin_t/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=... and mmdet's tools/train.py.
Published: 46.2 box AP, 41.6 mask AP; supervised 46.0, 41.6 (arXiv 2106.09785).
"""

_base_ = ['mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py']

custom_imports = dict(imports=['esvit_plugin'])

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.EsViTSwin',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_swin_t/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    )
)
