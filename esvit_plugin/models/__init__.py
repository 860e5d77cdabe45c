"""Backbones, necks, heads and the self-supervised model."""

from .backbones import (
    CvT,
    DINOVisionTransformer,
    EsViTSwin,
    MAELiteViT,
    MoCoV3VisionTransformer,
    ViL,
)
from .classifiers import (
    DistilledLinearClsHead,
    HardDistilledClassifier,
    LinearSweepClassifier,
    TIMMTeacher,
)
from .heads import DINOViewHead, RegionMatchingHead
from .necks import DINOProjection, MAELiteDecoder
from .plain import plain_twins
from .selfsup import (
    DistilledMAE,
    EsViT,
    MAETeacher,
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
    'DistilledLinearClsHead',
    'DistilledMAE',
    'EsViT',
    'EsViTSwin',
    'HardDistilledClassifier',
    'LinearSweepClassifier',
    'MAELiteDecoder',
    'MAELiteViT',
    'MAETeacher',
    'MoCoV3VisionTransformer',
    'MomentumEncoder',
    'MultiCropDataPreprocessor',
    'RegionMatchingHead',
    'ReleasedMoCoV3',
    'TIMMTeacher',
    'ViL',
    'ViewListDataPreprocessor',
    'plain_twins',
]
