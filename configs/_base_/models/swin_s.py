"""EsViT with Swin-S, window 7, and both tasks (49M parameters in the backbone)."""

_base_ = ['./swin_t.py']

model = dict(backbone=dict(arch='small', drop_path_rate=0.2))
