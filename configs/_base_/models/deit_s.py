"""EsViT with DeiT-S, patch 16, and both tasks (21M parameters in the backbone).

The class token is the view, the patch tokens are the regions.
"""

_base_ = ['./swin_t.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='DINOVisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        out_type='raw',
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=384),
    region_neck=dict(in_channels=384),
)
