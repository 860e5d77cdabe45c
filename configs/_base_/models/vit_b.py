"""EsViT with ViT-B, patch 16, and both tasks (86M parameters in the backbone).

The class token is the view, the patch tokens are the regions. The prototypes keep
their norms at 1: DINO's program trains them with DeiT-S only, as larger ViTs get
unstable.
"""

_base_ = ['./deit_s.py']

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=768, norm_last_layer=True),
    region_neck=dict(in_channels=768, norm_last_layer=True),
)
