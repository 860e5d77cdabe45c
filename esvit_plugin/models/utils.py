"""Small functions that several parts of models use."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def upcast(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


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
    """The side of the images that a backbone was made for, 224 if it does not say."""
    size = getattr(getattr(backbone, 'patch_embed', None), 'init_input_size', None)
    return size[0] if size else getattr(backbone, 'img_size', 224)
