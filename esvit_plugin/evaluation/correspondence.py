"""Which regions of two views of an image correspond, and a picture of it."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def best_matches(source: Tensor, target: Tensor, num_matches: int = 10) -> Tensor:
    """The most confident region matches between two views of one image.

    Args:
        source: Features of the first view's regions, shape (T_s, C).
        target: Features of the second view's regions, shape (T_t, C).
        num_matches: How many matches to keep. Defaults to 10.

    Returns:
        Index pairs (num_matches, 2) into source and target regions, the most
        similar (cosine) pair first.
    """
    similarity = F.normalize(source, dim=1) @ F.normalize(target, dim=1).T
    score, index = similarity.max(dim=1)
    order = score.argsort(descending=True)[:num_matches]
    return torch.stack([order, index[order]], dim=1)


def match_accuracy(
    source: Tensor, target: Tensor, num_matches: int = 10
) -> tuple[float, float]:
    """How well regions of an image and of its mirrored copy correspond.

    Of the most confident matches, the share that joins a region with its mirrored
    position (Section 4), and the mean distance to it.

    Args:
        source: Features of the image's regions on its grid, shape (H, W, C).
        target: Features of the mirrored copy's regions, shape (H, W, C).
        num_matches: How many matches to look at. Defaults to 10.

    Returns:
        Accuracy in percent, and mean error in grid steps.
    """
    width = source.shape[1]
    pairs = best_matches(source.flatten(0, 1), target.flatten(0, 1), num_matches)
    rows, cols = pairs // width, pairs % width
    cols[:, 1] = width - 1 - cols[:, 1]  # undo the mirroring
    error = torch.hypot(
        (rows[:, 0] - rows[:, 1]).float(), (cols[:, 0] - cols[:, 1]).float()
    )
    return float((error == 0).float().mean() * 100), float(error.mean())


def plot_correspondence(
    path: str,
    images: tuple[np.ndarray, np.ndarray],
    grid: tuple[int, int],
    matches: Sequence[tuple[str, Tensor]],
) -> None:
    """Draw matches between two views, one row for each model.

    A line joins the centres of two matched regions; green where the second view,
    a mirrored copy, shows the same place, red elsewhere.

    Args:
        path: File to write, e.g. a ``.png``.
        images: The two views, RGB uint8 arrays of one shape (H, W, 3).
        grid: Height and width of the grid of regions.
        matches: Title and index pairs (M, 2) of each row.

    Raises:
        ImportError: If matplotlib is missing.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    height, width = images[0].shape[:2]
    gap = np.full((height, width // 16, 3), 255, np.uint8)
    canvas = np.concatenate([images[0], gap, images[1]], axis=1)
    figure, axes = plt.subplots(
        len(matches), 1, figsize=(8, 4.3 * len(matches)), squeeze=False
    )
    for axis, (title, pairs) in zip(axes[:, 0], matches, strict=True):
        axis.imshow(canvas)
        for left, right in pairs.tolist():
            (row, col), (row2, col2) = divmod(left, grid[1]), divmod(right, grid[1])
            same = (row, grid[1] - 1 - col) == (row2, col2)
            xs = [(c + 0.5) / grid[1] * width for c in (col, col2)]
            ys = [(r + 0.5) / grid[0] * height for r in (row, row2)]
            xs[1] += width + gap.shape[1]
            axis.plot(
                xs,
                ys,
                color='lime' if same else 'red',
                marker='o',
                linewidth=1.5,
            )
        axis.set_title(title)
        axis.axis('off')
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
