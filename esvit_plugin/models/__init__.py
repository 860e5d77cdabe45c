"""Backbones, necks, heads and the self-supervised model."""

from .backbones import CvT, DINOVisionTransformer, EsViTSwin, ViL
from .classifiers import LinearSweepClassifier
from .heads import DINOViewHead, RegionMatchingHead
from .necks import DINOProjection
from .plain import plain_twins
from .selfsup import EsViT, MultiCropDataPreprocessor, ViewListDataPreprocessor

__all__ = [
    'CvT',
    'DINOProjection',
    'DINOViewHead',
    'DINOVisionTransformer',
    'EsViT',
    'EsViTSwin',
    'LinearSweepClassifier',
    'MultiCropDataPreprocessor',
    'RegionMatchingHead',
    'ViL',
    'ViewListDataPreprocessor',
    'plain_twins',
]
