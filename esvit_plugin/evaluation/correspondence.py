"""Which regions of two views of an image correspond."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .images import model_inputs
from .view_pairs import MIRRORED, Placement, ViewPair


class Matches(NamedTuple):
    """The most confident region matches between two views.

    Args:
        pairs: Index pairs (M, 2) into the first and second view's regions, the most
            similar first.
        similarity: Mean cosine similarity of the matched regions, in [-1, 1].
        right: Whether the second region's centre lies in the first region, bool of
            shape (M,); None where there is no true place.
        error: Mean distance of the first region's centre from that true place; None
            likewise.
        grid: Height and width of the first view's grid of regions.
        accuracy_all: Share of right matches among those of all regions of the first
            view in percent, with the less confident ones; None likewise.
    """

    pairs: Tensor
    similarity: float
    right: Tensor | None
    error: float | None
    grid: tuple[int, int]
    accuracy_all: float | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of right matches in percent; None where there is no true place."""
        return None if self.right is None else float(self.right.float().mean() * 100)

    def measures(self) -> dict[str, float]:
        """What there is of accuracies, ``pixel_error`` and ``similarity``."""
        values = dict(
            accuracy=self.accuracy,
            accuracy_all=self.accuracy_all,
            pixel_error=self.error,
            similarity=self.similarity,
        )
        return {name: value for name, value in values.items() if value is not None}


@torch.no_grad()
def region_map(model: Any, image: np.ndarray, source: str | None = None) -> Tensor:
    """Features of the regions of one square image, in their places.

    Args:
        model: An ``EsViT`` or a ``FrozenBackbone``. Its mode is left to the caller.
        image: RGB uint8 array of shape (S, S, 3).
        source: 'teacher' or 'student' of an ``EsViT``. Defaults to None, the teacher,
            or the one network of a ``FrozenBackbone``.

    Returns:
        Tensor of shape (H, H, C), on the CPU.
    """
    network = () if source is None else (source,)
    regions = model.extract_regions(model_inputs(model, image), *network)[0]
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
    return _best_matches(source, target, num_matches)[0]


def _best_matches(
    source: Tensor, target: Tensor, num_matches: int
) -> tuple[Tensor, Tensor]:
    """Index pairs (M, 2) as of ``best_matches``, and their cosine similarity (M,)."""
    similarity = F.normalize(source, dim=1) @ F.normalize(target, dim=1).T
    score, index = similarity.max(dim=1)
    order = score.argsort(descending=True)[:num_matches]
    return torch.stack([order, index[order]], dim=1), score[order]


def match_regions(
    source: Tensor,
    target: Tensor,
    num_matches: int = 10,
    step: tuple[float, float] = (1.0, 1.0),
    place: Placement | None = MIRRORED,
) -> Matches:
    """Match the regions of two views, and measure it where the truth is known.

    A match is right if the centre of the second view's region, moved into the first
    view, lies in the matched region there. For a mirrored copy that is the mirrored
    position (Section 4).

    Args:
        source: Features of the first view's regions on its grid, shape (H, W, C).
        target: Features of the second view's regions, shape (H', W', C).
        num_matches: How many matches to look at. Defaults to 10.
        step: Height and width of a step of the first grid, in pixels for an error in
            pixels. Defaults to (1, 1), for an error in grid steps.
        place: Where the second view lies in the first; None where it is of another
            image. Defaults to the mirrored copy.

    Returns:
        The matches.
    """
    flat = source.flatten(0, 1), target.flatten(0, 1)
    all_pairs, similarity = _best_matches(*flat, len(flat[0]))
    pairs = all_pairs[:num_matches]
    mean = float(similarity[:num_matches].mean())
    grid = source.shape[0], source.shape[1]
    if place is None:
        return Matches(pairs, mean, None, None, grid)
    grids = grid, target.shape[:2]
    # In steps of the first grid.
    distances = (_offsets(pairs, *grids, place) * torch.tensor(step)).norm(dim=-1)
    right = is_right(all_pairs, *grids, place)
    return Matches(
        pairs,
        mean,
        right[:num_matches],
        float(distances.mean()),
        grid,
        float(right.float().mean() * 100),
    )


def match_views(
    model: Any, pair: ViewPair, num_matches: int = 10, source: str | None = None
) -> Matches:
    """Match the regions of a pair of views as a model sees them.

    Args:
        model: As for ``region_map``.
        pair: The two views, of ``open_pairs``.
        num_matches: How many matches to look at. Defaults to 10.
        source: As for ``region_map``. Defaults to None.

    Returns:
        The matches, with an error in pixels of the first view.
    """
    first, second = (region_map(model, view, source) for view in pair.views)
    height, width = pair.views[0].shape[:2]
    step = height / first.shape[0], width / first.shape[1]
    return match_regions(first, second, num_matches, step, pair.place)


def _offsets(
    pairs: Tensor, grid: Sequence[int], other: Sequence[int], place: Placement
) -> Tensor:
    """Ways (M, 2) from the first regions' centres to the true places, in grid steps."""
    true = place.in_first(region_centres(pairs[:, 1], other))
    return (true - region_centres(pairs[:, 0], grid)) * torch.tensor(grid)


def is_right(
    pairs: Tensor, grid: Sequence[int], other: Sequence[int], place: Placement
) -> Tensor:
    """Whether the true place lies in the first region, bool (M,)."""
    # An edge belongs to the region that begins there.
    offsets = _offsets(pairs, grid, other, place)
    return ((offsets >= -0.5) & (offsets < 0.5)).all(-1)


def region_centres(index: Tensor, grid: Sequence[int]) -> Tensor:
    """Centres (M, 2) of regions of a grid, as shares of its height and width."""
    cells = torch.stack([index // grid[1], index % grid[1]], -1)
    return (cells + 0.5).double() / torch.tensor(grid)


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
    matches: Any = match_regions(source, target, num_matches, step)
    return matches.accuracy, matches.error
