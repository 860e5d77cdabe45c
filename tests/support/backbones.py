"""One small config of every kind of backbone that EsViT trains, with its width."""

import torch
from mmpretrain.registry import MODELS

BACKBONES = {
    'EsViTSwin': (
        dict(
            type='EsViTSwin',
            arch=dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
            img_size=64,
            window_size=4,
        ),
        128,
    ),
    'ViL': (
        dict(
            type='ViL',
            arch=dict(
                embed_dims=[8, 16, 16, 32], depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4]
            ),
            img_size=64,
            window_size=4,
            random_neighbor=True,
        ),
        32,
    ),
    'CvT': (
        dict(
            type='CvT',
            arch=dict(
                embed_dims=[8, 16, 16, 32], depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4]
            ),
            window_size=4,
        ),
        32,
    ),
    'ResNet': (dict(type='ResNet', depth=50, stem_channels=8, base_channels=8), 256),
    'DeiT': (
        dict(
            type='VisionTransformer',
            arch=dict(
                embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64
            ),
            img_size=64,
            patch_size=16,
            out_type='raw',
        ),
        32,
    ),
    'ConvNeXt': (
        dict(
            type='ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]),
            gap_before_final_norm=False,
        ),
        64,
    ),
    'SwinV2': (
        dict(
            type='SwinTransformerV2',
            arch=dict(
                embed_dims=16,
                depths=[1, 1, 1, 1],
                num_heads=[1, 2, 4, 8],
                extra_norm_every_n_blocks=0,
            ),
            img_size=64,
            window_size=4,
            pad_small_map=True,
        ),
        128,
    ),
    'TIMMBackbone': (
        dict(
            type='TIMMBackbone',
            model_name='vit_tiny_patch16_224',
            embed_dim=32,
            depth=2,
            num_heads=2,
            img_size=64,
            dynamic_img_size=True,
        ),
        32,
    ),
}
# Two blocks on a last map larger than the window: the last one is shifted.
SHIFTED = dict(
    type='EsViTSwin',
    arch=dict(embed_dims=8, depths=[1, 1, 1, 2], num_heads=[1, 1, 2, 4]),
    img_size=256,
    window_size=4,
)


def build(cfg):
    """A backbone whose attention is far from uniform."""
    backbone = MODELS.build(dict(cfg))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in backbone.parameters():
            noise = torch.randn(param.shape, generator=generator)
            param.add_(0.3 * noise)
    backbone.eval()
    return backbone
