"""Protocols that give numbers of what a model learnt."""

from .attention import BlockAttention, has_attention, last_attention
from .attention_distance import AttentionSpread, attention_spread, head_distance
from .attention_statistics import head_entropy, mass_mask
from .cka import LayerSimilarity, layer_cka, unbiased_hsic
from .correspondence import (
    Matches,
    best_matches,
    match_accuracy,
    match_regions,
    match_views,
    region_map,
)
from .extraction import extract_features
from .frozen import FrozenBackbone
from .images import prepare_images
from .knn import knn_accuracy, weighted_knn
from .logistic_regression import ProbeResult, logistic_probe
from .search import Neighbours, similar_images
from .sweep_accuracy import LinearSweepAccuracy
from .view_pairs import (
    Placement,
    ViewPair,
    cropped_copy,
    mirrored_copy,
    open_pairs,
)

__all__ = [
    'AttentionSpread',
    'BlockAttention',
    'FrozenBackbone',
    'LayerSimilarity',
    'LinearSweepAccuracy',
    'Matches',
    'Neighbours',
    'Placement',
    'ProbeResult',
    'ViewPair',
    'attention_spread',
    'best_matches',
    'cropped_copy',
    'extract_features',
    'has_attention',
    'head_distance',
    'head_entropy',
    'knn_accuracy',
    'last_attention',
    'layer_cka',
    'logistic_probe',
    'mass_mask',
    'match_accuracy',
    'match_regions',
    'match_views',
    'mirrored_copy',
    'open_pairs',
    'prepare_images',
    'region_map',
    'similar_images',
    'unbiased_hsic',
    'weighted_knn',
]
