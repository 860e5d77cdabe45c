"""EsViT with Swin-B, window 7, and both tasks (87M parameters in the backbone)."""

_base_ = ['./swin_t.py']

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2),
    neck=dict(in_channels=1024),
    region_neck=dict(in_channels=1024),
)
