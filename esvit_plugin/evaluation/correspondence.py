"""Which regions of two views of an image correspond, and a picture of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from ..datasets.transforms.view_group import Augment, ViewGroup
from .figures import new_figure
from .images import model_inputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mirrored_copy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The second view of a pair: flipped, colour-jittered and grey (Section 4).

    Args:
        image: RGB uint8 array of shape (S, S, 3).
        rng: Draws the jitter, of the strengths of training.

    Returns:
        RGB uint8 array of the same shape.
    """
    augment = Augment(flip_prob=1, color_jitter_prob=1, gray_prob=1, blur_prob=0)
    # The crop is the whole image.
    group = ViewGroup(len(image), scale=(1, 1), ratio=(1, 1), augment=augment)
    draw = group.draw(rng, *image.shape[:2])
    view = group.apply(Image.fromarray(image), draw, InterpolationMode.BICUBIC)
    return np.asarray(view)


@torch.no_grad()
def region_map(model: Any, image: np.ndarray, source: str = 'teacher') -> Tensor:
    """Features of the regions of one square image, in their places.

    Args:
        model: An ``EsViT``. Its mode is left to the caller.
        image: RGB uint8 array of shape (S, S, 3).
        source: 'teacher' or 'student'. Defaults to 'teacher'.

    Returns:
        Tensor of shape (H, H, C), on the CPU.
    """
    regions = model.extract_regions(model_inputs(model, image), source)[0]
    side = int(len(regions) ** 0.5)
    return regions.unflatten(0, (side, side)).cpu()


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
    source: Tensor,
    target: Tensor,
    num_matches: int = 10,
    step: tuple[float, float] = (1.0, 1.0),
) -> tuple[float, float]:
    """How well regions of an image and of its mirrored copy correspond.

    Of the most confident matches, the share that joins a region with its mirrored
    position (Section 4), and the mean distance to it.

    Args:
        source: Features of the image's regions on its grid, shape (H, W, C).
        target: Features of the mirrored copy's regions, shape (H, W, C).
        num_matches: How many matches to look at. Defaults to 10.
        step: Height and width of a step of the grid, in pixels of the image for an
            error in pixels. Defaults to (1, 1), for an error in grid steps.

    Returns:
        Accuracy in percent, and mean error in the unit of ``step``.
    """
    width = source.shape[1]
    pairs = best_matches(source.flatten(0, 1), target.flatten(0, 1), num_matches)
    rows, cols = pairs // width, pairs % width
    cols[:, 1] = width - 1 - cols[:, 1]  # undo the mirroring
    offset = torch.stack([rows, cols]).diff(dim=-1)[..., 0].float()
    error = torch.hypot(offset[0] * step[0], offset[1] * step[1])
    return float((error == 0).float().mean() * 100), float(error.mean())


def draw_correspondence(
    images: tuple[np.ndarray, np.ndarray],
    grid: Sequence[int],
    matches: Sequence[tuple[str, Tensor]],
) -> 'Figure':
    """Draw matches between two views, one row for each model.

    A line joins the centres of two matched regions; green where the second view,
    a mirrored copy, shows the same place, red elsewhere.

    Args:
        images: The two views, RGB uint8 arrays of one shape (H, W, 3).
        grid: Height and width of the grid of regions.
        matches: Title and index pairs (M, 2) of each row.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    height, width = images[0].shape[:2]
    gap = np.full((height, width // 16, 3), 255, np.uint8)
    canvas = np.concatenate([images[0], gap, images[1]], axis=1)
    figure = new_figure(8, 4.3 * len(matches))
    axes = figure.subplots(len(matches), 1, squeeze=False)
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
                markersize=5,
                linewidth=1.5,
                zorder=3 if same else 2,  # no right match lies under a wrong one
            )
        axis.set_title(title)
        axis.axis('off')
    figure.tight_layout()
    return figure


def plot_correspondence(
    path: str,
    images: tuple[np.ndarray, np.ndarray],
    grid: Sequence[int],
    matches: Sequence[tuple[str, Tensor]],
) -> None:
    """Write the picture of ``draw_correspondence`` to a file.

    Args:
        path: File to write, e.g. a ``.png``.
        images: As for ``draw_correspondence``, like the others.
        grid: Height and width of the grid of regions.
        matches: Title and index pairs (M, 2) of each row.

    Raises:
        ImportError: If matplotlib is missing.
    """
    draw_correspondence(images, grid, matches).savefig(path)
