"""How the block-wise loss cuts its logits, and what a CPU's caches ask of it.

None of this changes a result beyond rounding. The sizes for a CPU were measured with
``benchmarks/heads.py``.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

# A block holds at most so many student logits: 64 MiB in float32. It always holds one
# row of an image. The teacher's probabilities of the block's images come on top.
BLOCK_ELEMENTS = 2**24
# Each block reads all prototypes and adds to all of their gradient, so that a GPU,
# whose products are quick, waits for these: 2048 rows with K = 65536.
GPU_BLOCK_ELEMENTS = 2**27
# Softmax and sums go over so many logits at a time, which on a CPU stay in the caches
# and on a GPU bound the memory of what is between.
SLICE_ELEMENTS = 2**19
GPU_SLICE_ELEMENTS = 2**25
# On a CPU, matrix products go over so many prototypes, for the caches.
SLICE_PROTOTYPES = 512
# On a CPU, unused elements after each row of logits. With K a power of two the rows
# would otherwise begin at addresses that share the same few places of a cache.
ROW_GAP = 80


def block_shape(
    num_images: int, rows_per_image: int, num_prototypes: int, device: torch.device
) -> tuple[int, int]:
    """The number of images in a block, and of rows that it takes of each."""
    elements = BLOCK_ELEMENTS if device.type == 'cpu' else GPU_BLOCK_ELEMENTS
    max_rows = max(1, elements // num_prototypes)
    images = min(num_images, max(1, max_rows // rows_per_image))
    parts = -(-rows_per_image // max_rows)
    return images, -(-rows_per_image // parts)


def parts_of(length: int, size: int) -> Iterator[slice]:
    """Cut a length into parts of a size; the last may be shorter."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def logits_buffer(like: Tensor, num_rows: int, num_prototypes: int) -> Tensor:
    """An empty tensor (rows, K) of the type and on the device of another."""
    gap = ROW_GAP if like.device.type == 'cpu' else 0
    return like.new_empty(num_rows, num_prototypes + gap)[:, :num_prototypes]


def multiply_into(buffer: Tensor, rows: Tensor, prototypes: Tensor) -> Tensor:
    """Write ``rows @ prototypes.T`` into the first rows of a buffer; return these."""
    out = buffer[: len(rows)]
    on_cpu = rows.device.type == 'cpu'
    size = SLICE_PROTOTYPES if on_cpu else len(prototypes)
    for part in parts_of(len(prototypes), size):
        torch.mm(rows, prototypes[part].T, out=out[:, part])
    return out


def slices_of(logits: Tensor) -> tuple[Tensor, ...]:
    """Groups of rows of logits (N, K), to be handled one after the other."""
    elements = SLICE_ELEMENTS if logits.device.type == 'cpu' else GPU_SLICE_ELEMENTS
    return logits.split(max(1, elements // logits.shape[-1]))
