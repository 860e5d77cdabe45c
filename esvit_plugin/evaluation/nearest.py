"""The parts of k-NN classification: most similar images, and their votes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def largest(values: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The largest values of each row; of equal ones the first.

    ``topk`` takes any of equal values, which depends on the device and on the width.

    Args:
        values: Shape (M, N).
        number: How many, at most N.

    Returns:
        The values, falling, and their columns, rising among equal values, each
        (M, number).
    """
    found, columns = values.topk(min(number + 1, values.shape[1]), dim=1)
    columns = columns[:, :number]
    if found.shape[1] > number:
        last = found[:, number - 1 : number]
        tied = (last == found[:, number:]).flatten().nonzero().flatten()
        # In few rows at a time: collapsed features are equal everywhere.
        for rows in tied.split(64):
            above = ~(values[rows] <= last[rows])
            equal = values[rows] == last[rows]
            room = number - above.sum(1, keepdim=True)
            taken = above | (equal & (equal.cumsum(1) <= room))
            columns[rows] = taken.nonzero()[:, 1].view(-1, number)
    columns = columns.sort(dim=1).values
    found, order = values.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return found, columns.gather(1, order)


def nearest(
    queries: Tensor, feats: Tensor, number: int, block_size: int
) -> tuple[Tensor, Tensor]:
    """Cosine similarities and rows of the most similar features.

    Args:
        queries: Features (M, C).
        feats: Features (N, C).
        number: How many. Values above N count as N.
        block_size: Rows of ``feats`` that are compared at once.

    Returns:
        Similarities, falling, and rows of ``feats``, rising among equal similarities,
        each (M, min(number, N)).
    """
    queries = F.normalize(queries.float(), dim=1)
    best = queries.new_empty(len(queries), 0)
    rows = torch.empty_like(best, dtype=torch.long)
    for start in range(0, len(feats), block_size):
        block = F.normalize(feats[start : start + block_size].float(), dim=1)
        in_block, columns = largest(queries @ block.T, min(number, len(block)))
        best = torch.cat([best, in_block], 1)
        rows = torch.cat([rows, columns + start], 1)
        best, order = largest(best, min(number, best.shape[1]))
        rows = rows.gather(1, order)
    return best, rows


def count_hits(
    similarity: Tensor,
    classes: Tensor,
    labels: Tensor,
    num_classes: int,
    ks: Sequence[int],
    temperature: float,
) -> Tensor:
    """How many images their neighbours classify rightly.

    Args:
        similarity: Similarities of the neighbours (M, K), falling.
        classes: Their classes (M, K).
        labels: True classes (M,).
        num_classes: Number of classes.
        ks: Numbers of neighbours that vote.
        temperature: Temperature of the votes.

    Returns:
        Images whose class has the most votes, and those where it is among the first
        five, shape (len(ks), 2), on the CPU.
    """
    # Only ratios count: relative to the nearest one, no vote overflows.
    weights = ((similarity - similarity[:, :1]) / temperature).exp()
    correct = []
    for k in ks:
        votes = weights.new_zeros(len(weights), num_classes)
        votes.scatter_add_(1, classes[:, :k], weights[:, :k])
        # Stable, so that classes without votes rank the same everywhere.
        best = votes.sort(dim=1, descending=True, stable=True).indices[:, :5]
        hits = best == labels.unsqueeze(1)
        correct.append(torch.stack([hits[:, 0].sum(), hits.sum()]))
    return torch.stack(correct).cpu()
