"""Features in the plane, by t-SNE or UMAP."""

import numpy as np


def embed_in_plane(
    features: np.ndarray, method: str = 'tsne', seed: int = 0
) -> np.ndarray:
    """Reduce features to two dimensions, by distances between their unit vectors.

    Args:
        features: Shape (N, C).
        method: 'tsne' (scikit-learn) or 'umap' (umap-learn). Defaults to 'tsne'.
        seed: Of the method's random numbers. Defaults to 0.

    Returns:
        Points, shape (N, 2), around 0; they are spread most along the first axis.

    Raises:
        ValueError: If there are fewer than 4 images, or all features are equal.
    """
    if len(features) < 4:
        raise ValueError(
            f'An embedding needs at least 4 images, got {len(features)}; give '
            'esvit features more.'
        )
    features = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    # What rounding leaves of equal ones is noise, which no method spreads.
    if np.ptp(features.astype(np.float64), axis=0).max() < 1e-6:
        raise ValueError(
            f'All {len(features)} features point the same way, so there are no '
            'distances to draw: the images are the same, or the model has collapsed.'
        )
    if method == 'umap':
        from umap import UMAP

        neighbors = min(15, len(features) - 1)
        reducer = UMAP(n_neighbors=neighbors, random_state=seed)
    else:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(features) - 1) / 3)
        reducer = TSNE(perplexity=perplexity, random_state=seed)
    points = reducer.fit_transform(features)
    # Directions mean nothing: turned, so that a wide picture has room for them.
    points = points - points.mean(0)
    return points @ np.linalg.svd(points, full_matrices=False)[2].T
