"""Backbones, necks, heads and the self-supervised model."""

from .backbones import EsViTSwin
from .heads import DINOViewHead, RegionMatchingHead
from .necks import DINOProjection
from .selfsup import EsViT, MultiCropDataPreprocessor

__all__ = [
    'DINOProjection',
    'DINOViewHead',
    'EsViT',
    'EsViTSwin',
    'MultiCropDataPreprocessor',
    'RegionMatchingHead',
]
