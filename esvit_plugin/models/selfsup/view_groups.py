"""The one layout of views between the data and the losses: a group for each size."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class ViewFeatures(NamedTuple):
    """What a backbone gives for the n views of one size.

    Attributes:
        views: Features of whole views, shape (B, n, C).
        regions: Features of their regions, shape (B, n, T, C).
    """

    views: Tensor
    regions: Tensor


def group_views(inputs: Sequence[Tensor], backbone: nn.Module) -> list[Tensor]:
    """Check the views of a batch and bring those of one size together.

    Args:
        inputs: One tensor (B, n, 3, S, S) per size, or single views (B, 3, S, S);
            the first size is the global one.
        backbone: The backbone; views must be multiples of its patch size.

    Returns:
        Views (B, n, 3, S, S) of each size, in the order of ``inputs``.

    Raises:
        ValueError: If the views do not fit.
    """
    if isinstance(inputs, Tensor) or not inputs:
        raise ValueError(
            'EsViT trains on a list of views, one tensor per size, but got '
            f'{_describe(inputs)}. Put the MultiCrop transform into the pipeline '
            "and collate_fn=dict(type='default_collate') into the dataloader."
        )
    by_size: dict[Any, list[Tensor]] = {}
    for views in inputs:
        if views.dim() == 4:
            views = views.unsqueeze(1)
        if views.dim() != 5:
            raise ValueError(
                'EsViT: views must have shape (B, n, 3, S, S) or (B, 3, S, S), '
                f'got {_describe(views)}.'
            )
        by_size.setdefault(tuple(views.shape[-2:]), []).append(views)
    groups = [torch.cat(views, 1) for views in by_size.values()]
    if groups[0].shape[1] < 2:
        raise ValueError(
            'EsViT needs at least 2 global views, the views of the first size, '
            f'but got {groups[0].shape[1]}; views: {_describe(inputs)}.'
        )
    patch = getattr(backbone, 'patch_size', 1)
    for size in by_size:
        if isinstance(patch, int) and any(side % patch for side in size):
            raise ValueError(
                f'EsViT: a view of {size[0]}x{size[1]} px is no multiple of the '
                f'patch size {patch} of {type(backbone).__name__}. Set the '
                'sizes in MultiCrop to multiples of it.'
            )
    return groups


def project_groups(neck: Any, groups: Sequence[Tensor]) -> list[Tensor]:
    """Bottleneck features of all groups, in one call of the neck.

    Args:
        neck: A ``DINOProjection``.
        groups: Features (B, n, ..., C) of each size.

    Returns:
        Unit vectors (B, n, ..., D) of each size.
    """
    rows = neck.project(torch.cat([group.flatten(0, -2) for group in groups]))
    counts = [group[..., 0].numel() for group in groups]
    return [
        part.unflatten(0, group.shape[:-1])
        for part, group in zip(rows.split(counts), groups, strict=True)
    ]


def _describe(inputs: Any) -> str:
    if isinstance(inputs, Tensor):
        return f'a tensor of shape {tuple(inputs.shape)}'
    if isinstance(inputs, (list, tuple)):
        return f'[{", ".join(_describe(item) for item in inputs)}]'
    return str(type(inputs))
