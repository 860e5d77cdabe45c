"""Protocols that give numbers of what a model learnt, and pictures of it."""

from .attention import BlockAttention, has_attention, last_attention
from .attention_figure import draw_attention
from .attention_statistics import head_entropy, mass_mask
from .correspondence import (
    best_matches,
    draw_correspondence,
    match_accuracy,
    match_regions,
    plot_correspondence,
    region_map,
)
from .curves import draw_curves, read_scalars, run_names
from .embedding import draw_embedding
from .features import extract_features
from .frozen import FrozenBackbone
from .knn import knn_accuracy, weighted_knn
from .logistic_regression import ProbeResult, logistic_probe
from .sweep_accuracy import LinearSweepAccuracy
from .view_pairs import Placement, cropped_copy, mirrored_copy

__all__ = [
    'BlockAttention',
    'FrozenBackbone',
    'LinearSweepAccuracy',
    'Placement',
    'ProbeResult',
    'best_matches',
    'cropped_copy',
    'draw_attention',
    'draw_correspondence',
    'draw_curves',
    'draw_embedding',
    'extract_features',
    'has_attention',
    'head_entropy',
    'knn_accuracy',
    'last_attention',
    'logistic_probe',
    'mass_mask',
    'match_accuracy',
    'match_regions',
    'mirrored_copy',
    'plot_correspondence',
    'read_scalars',
    'region_map',
    'run_names',
    'weighted_knn',
]
