"""k-NN classification, feature extraction and region correspondence."""

from .correspondence import best_matches, match_accuracy, plot_correspondence
from .features import extract_features
from .knn import knn_accuracy, weighted_knn

__all__ = [
    'best_matches',
    'extract_features',
    'knn_accuracy',
    'match_accuracy',
    'plot_correspondence',
    'weighted_knn',
]
