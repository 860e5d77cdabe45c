"""Mask R-CNN of mmdet on EsViT's Swin-T, COCO in data/coco, 3x schedule (36 epochs).

    tools/dist_train.sh configs/detection/mask_rcnn_swin_t_3x.py 8

It needs mmdet, see tests/detection/README.md, and differs from mmdet's own config in
the weights of the backbone alone (and the eps of its norms, which is that of EsViT).
It reads work_dirs/esvit_swin_t/epoch_300.pth; another checkpoint with
--cfg-options model.backbone.init_cfg.checkpoint=...
Published: 46.2 box AP, 41.6 mask AP; supervised 46.0, 41.6 (arXiv 2106.09785).
"""

_base_ = ['mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py']

custom_imports = dict(imports=['esvit_plugin'])

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.EsViTSwin',
        arch='tiny',
        # Larger than 7 positions in every stage: all shift, as in mmdet's Swin.
        img_size=800,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/esvit_swin_t/epoch_300.pth',
            prefix='teacher.backbone.',
        ),
    )
)
