"""EsViT with Swin-T, window 7, and both tasks (28M parameters in the backbone)."""

model = dict(
    type='EsViT',
    data_preprocessor=dict(
        type='MultiCropDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='EsViTSwin', arch='tiny', img_size=224, window_size=7, drop_path_rate=0.1
    ),
    neck=dict(type='DINOProjection', in_channels=768, out_channels=65536),
    head=dict(type='DINOViewHead'),
    # For view-only training set both region parts to None.
    region_neck=dict(type='DINOProjection', in_channels=768, out_channels=65536),
    region_head=dict(type='RegionMatchingHead'),
)
