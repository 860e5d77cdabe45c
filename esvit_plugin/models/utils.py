"""Small functions that several parts of models use."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def upcast(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def is_traced() -> bool:
    """Whether ``torch.jit.trace`` or ``torch.compile`` records what is computed.

    The one cannot hold a function with a gradient of its own, the other chooses itself
    what to keep for the backward pass; both shall take any number of images.
    """
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def mark_sizes(images: Tensor) -> None:
    """Tell ``torch.compile`` that numbers of images change and that sizes do not.

    Each size then has a graph of its own, which takes any number of images above 1.

    Args:
        images: What is about to be given to a compiled backbone, shape (B, 3, H, W).
    """
    torch._dynamo.maybe_mark_dynamic(images, 0)
    torch._dynamo.mark_static(images, [1, 2, 3])


def resize_bias_table(table: Tensor, num_offsets: int) -> Tensor:
    """Resize a table of relative position biases to another number of offsets.

    Args:
        table: Biases of the offsets of a square, row by row, shape (N, heads).
        num_offsets: The new N, a square number.

    Returns:
        The table, bicubically resized, shape (num_offsets, heads).
    """
    old, new = (round(number**0.5) for number in (len(table), num_offsets))
    if old == new:
        return table
    image = table.T.unflatten(1, (old, old)).unsqueeze(0)
    image = F.interpolate(image, (new, new), mode='bicubic', align_corners=False)
    return image[0].flatten(1).T


def image_size(backbone: nn.Module) -> int:
    """The side of the images that a backbone was made for, 224 if it does not say.

    Args:
        backbone: The backbone; where it was made for oblong images, the shorter side
            counts.
    """
    inner = getattr(backbone, 'timm_model', backbone)
    patches = getattr(inner, 'patch_embed', None)
    size = (
        getattr(patches, 'init_input_size', None)
        or getattr(inner, 'img_size', None)
        or getattr(patches, 'img_size', None)
        or 224
    )
    return min(size) if isinstance(size, Sequence) else size


def picture_size(backbone: nn.Module) -> int:
    """The side of images to look at: ``image_size``, but at least 224.

    The last map of fewer pixels has hardly any regions to match or to attend to.

    Args:
        backbone: The backbone.
    """
    return max(224, image_size(backbone))
