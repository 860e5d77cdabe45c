"""What makes the networks of whole configs small, and quick to build."""

from contextlib import contextmanager
from unittest import mock

from torch.nn import init

# Few blocks, of which some are shifted with either window; heads that divide the
# widths of all sizes.
SHALLOW = dict(depths=[2, 1, 2, 1], num_heads=[1, 2, 4, 8], _delete_=True)
DEPTH = sum(SHALLOW['depths'])
# Of the last map.
WIDTH = 192
# The sum over the last four blocks.
LAST_BLOCKS = 48 + 96 + 96 + 192
SWIN = dict(embed_dims=24, **SHALLOW)
MAPS = dict(embed_dims=[24, 48, 96, 192], **SHALLOW)
VIT_DEPTH = 4
VIT = dict(
    embed_dims=192,
    num_layers=VIT_DEPTH,
    num_heads=6,
    feedforward_channels=64,
    _delete_=True,
)
SMALL = {
    'EsViTSwin': dict(arch=SWIN),
    'SimMIMSwinTransformer': dict(arch=SWIN),
    'ViL': dict(arch=MAPS),
    'CvT': dict(arch=MAPS),
    'VisionTransformer': dict(arch=VIT),
    'DINOVisionTransformer': dict(arch=VIT),
    'MAEViT': dict(arch=VIT),
    'MoCoV3VisionTransformer': dict(arch=VIT),
    'ResNet': dict(stem_channels=8, base_channels=6),
}


def small_backbone(backbone):
    """Options of ``--cfg-options`` that make a model's backbone small."""
    return {f'model.backbone.{k}': v for k, v in SMALL[backbone.type].items()}


@contextmanager
def without_initial_values():
    """Build modules whose weights are whatever the memory holds, in half the time."""
    names = [name for name in dir(init) if name.endswith('_') and name[0] != '_']
    keep = {name: lambda tensor, *_, **__: tensor for name in names}
    with mock.patch.multiple(init, **keep):
        yield


# After the _base_ of a folder config: network and views that train in seconds.
SMALL_FOLDER = """
views = [
    dict(size=64, scale=(0.4, 1.0), num_views=2),
    dict(size=32, scale=(0.05, 0.4), num_views=2),
]
steps = [
    dict(type='LoadImage'),
    dict(type='MultiCrop', views=views),
    dict(type='PackInputs'),
]
neck = dict(in_channels=128, out_channels=64, hidden_channels=32)
model = dict(
    backbone=dict(
        _delete_=True,
        type='EsViTSwin',
        arch=dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
        img_size=64,
        window_size=4,
    ),
    neck=neck,
    region_neck=neck,
)
train_dataloader = dict(batch_size=12, num_workers=0, dataset=dict(pipeline=steps))
train_cfg = dict(max_epochs=1)
"""
