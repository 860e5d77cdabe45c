"""Backbones, necks, heads and the self-supervised model."""

from .backbones import (
    CvT,
    DINOVisionTransformer,
    EsViTSwin,
    MoCoV3VisionTransformer,
    ViL,
)
from .classifiers import LinearSweepClassifier
from .heads import DINOViewHead, RegionMatchingHead
from .necks import DINOProjection
from .plain import plain_twins
from .selfsup import (
    EsViT,
    MomentumEncoder,
    MultiCropDataPreprocessor,
    ReleasedMoCoV3,
    ViewListDataPreprocessor,
)

__all__ = [
    'CvT',
    'DINOProjection',
    'DINOViewHead',
    'DINOVisionTransformer',
    'EsViT',
    'EsViTSwin',
    'LinearSweepClassifier',
    'MoCoV3VisionTransformer',
    'MomentumEncoder',
    'MultiCropDataPreprocessor',
    'RegionMatchingHead',
    'ReleasedMoCoV3',
    'ViL',
    'ViewListDataPreprocessor',
    'plain_twins',
]
