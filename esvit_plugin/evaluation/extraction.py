"""Pooled features of a whole data set."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_world_size
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader


@torch.no_grad()
def extract_features(
    model: Any,
    loader: DataLoader,
    extract: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Features and labels of all images of a loader.

    Each process runs its share; all get the whole result, in the data set's order.

    Args:
        model: A model with ``data_preprocessor`` and, unless ``extract`` is given,
            ``extract_feat``. Its mode is left to the caller.
        loader: Loader whose pipeline ends in ``PackInputs``, over a labelled data
            set, with a sampler that does not shuffle.
        extract: Function from normalised images (B, 3, H, W) to features (B, C).
            Defaults to ``model.extract_feat``.

    Returns:
        Features (N, C), float32 on the CPU, and labels (N,).

    Raises:
        ValueError: If the data set has no labels or the loader shuffles.
    """
    if getattr(loader.sampler, 'shuffle', False):
        raise ValueError(
            "extract_features needs the data set's order; set sampler=dict("
            "type='DefaultSampler', shuffle=False) in the dataloader."
        )
    extract = extract or model.extract_feat
    feats = torch.empty(0)
    labels: list[int] = []
    for batch in loader:
        batch = model.data_preprocessor(batch, False)
        found = extract(batch['inputs'])
        if not labels:
            # At once: joining parts would need the memory twice.
            feats = torch.empty(len(loader.sampler), found.shape[1])  # type: ignore[arg-type]
        feats[len(labels) : len(labels) + len(found)] = found
        labels += [_label(sample) for sample in batch['data_samples']]
    size = len(loader.dataset)  # type: ignore[arg-type]
    shard = feats[: len(labels)], torch.tensor(labels)
    if get_world_size() == 1:
        return shard
    # The sampler deals images out in turn, and pads the shares to one length.
    merged = [
        torch.stack(parts, 1).flatten(0, 1)[:size]
        for parts in zip(*all_gather_object(shard), strict=True)
    ]
    return merged[0], merged[1]


def _label(sample: DataSample) -> int:
    label = sample.get('gt_label')
    if label is None:
        raise ValueError(
            'k-NN evaluation needs labels, but the data set gives none for '
            f'{sample.get("img_path", "an image")}. Use a labelled data set, e.g. '
            "dict(type='CustomDataset', data_root=..., with_label=True)."
        )
    return int(label)
