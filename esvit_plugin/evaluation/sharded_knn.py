"""Weighted k-NN whose features are spread over processes."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor

from .extraction import Shard, pad_rows
from .nearest import count_hits, largest, nearest


@torch.no_grad()
def count_sharded_hits(
    train: Shard,
    test: Shard,
    ks: Sequence[int],
    temperature: float,
    block_size: int = 1024,
    train_block_size: int = 65536,
) -> Tensor:
    """Hits of :func:`weighted_knn` of images that are spread over all processes.

    Features of voting images stay where they are. Blocks of the images to classify go
    to all processes; each finds the most similar of its own images, and the process
    that a test image came from merges what all have found. What a process receives at
    a time is bounded by ``block_size`` x (channels + 3 x processes x largest k).

    Args:
        train: This process's images that vote.
        test: This process's images to classify.
        ks: Numbers of neighbours.
        temperature: Temperature of the votes.
        block_size: Test images per block, over all processes. Defaults to 1024.
        train_block_size: Training images per block. Defaults to 65536.

    Returns:
        Test images whose class has the most votes, and those where it is among the
        first five, shape (len(ks), 2), over all processes, on the CPU.
    """
    device = train.features.device
    num_classes = 1 + max(_highest(train.labels), _highest(test.labels))
    number = min(max(ks), sum(train.sizes))
    rows = max(1, min(block_size // get_world_size(), max(test.sizes)))
    mine = slice(get_rank() * rows, (get_rank() + 1) * rows)
    correct = torch.zeros(len(ks), 2, dtype=torch.long)
    for start in range(0, max(test.sizes), rows):
        features = test.features[start : start + rows]
        labels = test.labels[start : start + rows]
        queries = torch.cat(all_gather(pad_rows(features, rows)))
        similarity, found = nearest(queries, train.features, number, train_block_size)
        # One list of all processes, the images in the data set's order.
        similarity = _join(similarity, number, mine, -float('inf'))
        indices = _join(train.indices[found], number, mine, torch.iinfo(torch.long).max)
        classes = _join(train.labels[found], number, mine)
        order = indices.argsort(dim=1)
        similarity, columns = largest(similarity.gather(1, order), number)
        classes = classes.gather(1, order.gather(1, columns))
        correct += count_hits(
            similarity[: len(labels)],
            classes[: len(labels)],
            labels,
            num_classes,
            ks,
            temperature,
        )
    correct = correct.to(device)
    all_reduce(correct)
    return correct.cpu()


def _highest(labels: Tensor) -> int:
    """The highest class of all processes; some may have no images."""
    highest = labels.max() if len(labels) else labels.new_tensor(-1)
    all_reduce(highest, 'max')
    return int(highest)


def _join(lists: Tensor, number: int, mine: slice, value: float = 0) -> Tensor:
    """Lists (rows, K) that all processes have found for the images of this one.

    Args:
        lists: Those found here for the images of all processes (M, k).
        number: Length that shorter ones are filled up to.
        mine: Which of the images are this process's.
        value: What fills them up.
    """
    padded = lists.new_full((len(lists), number), value)
    padded[:, : lists.shape[1]] = lists
    return torch.cat([found[mine] for found in all_gather(padded)], 1)
