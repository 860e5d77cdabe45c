"""Backbones, necks, heads and the self-supervised model."""

from .backbones import CvT, DINOVisionTransformer, EsViTSwin, MAELiteViT, ViL
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
    MultiCropDataPreprocessor,
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
    'MultiCropDataPreprocessor',
    'RegionMatchingHead',
    'TIMMTeacher',
    'ViL',
    'ViewListDataPreprocessor',
    'plain_twins',
]
