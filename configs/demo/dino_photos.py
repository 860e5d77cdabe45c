"""DINO with a small ViT on the 16 photographs of scikit-image and scikit-learn.

    python tools/train.py configs/demo/dino_photos.py

A few minutes on two CPU cores. Data, views and schedules are those of
esvit_swin_photos.py; patches are of 8 px, and L_V alone is trained.
"""

_base_ = ['./esvit_swin_photos.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='DINOVisionTransformer',
        arch=dict(embed_dims=192, num_layers=4, num_heads=12, feedforward_channels=384),
        img_size=64,
        patch_size=8,
        out_type='raw',
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=192),
    region_neck=None,
    region_head=None,
)
