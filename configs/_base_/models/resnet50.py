"""EsViT with ResNet-50 and both tasks (23M parameters in the backbone).

It has batch norms; ``sync_bn`` of the runtime's config joins those of all GPUs.
"""

_base_ = ['./swin_t.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        # As torchvision's: the last norm of a block starts at 1, not at 0.
        zero_init_residual=False,
    ),
    neck=dict(in_channels=2048),
    region_neck=dict(in_channels=2048),
)
