"""MoCo v3, Swin-T, window 7, on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/mocov3/mocov3_swin_t.py 8 --amp

Evaluate it as EsViT, with other weights:

    python tools/knn.py configs/mocov3/mocov3_swin_t.py work_dirs/mocov3_swin_t/epoch_300.pth
    tools/dist_train.sh configs/linear/linear_swin_t.py 8 --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/mocov3_swin_t/epoch_300.pth model.backbone.init_cfg.prefix=backbone.

The recipe is the one that MoCo v3 publishes for ViTs; it reports no Swin.
"""

_base_ = ['../_base_/mocov3_imagenet.py']

model = dict(
    backbone=dict(
        type='EsViTSwin',
        arch='tiny',
        img_size=224,
        window_size=7,
        # As the ViTs': the momentum encoder would have it too.
        drop_path_rate=0.0,
    )
)
