"""One switch between the fast path of every part and its plain twin."""

from collections.abc import Iterator
from contextlib import contextmanager

_plain = False


@contextmanager
def plain_twins(enabled: bool = True) -> Iterator[None]:
    """Run the plain twin of every fused block, loss and attention.

    A plain twin computes the same from the same parameters in the simplest way: stock
    blocks of mmpretrain, attention that forms its weights, losses from all logits. It
    judges the fast path in tests and benchmarks, and helps to tell a fault of one's
    own from one of the fast path's. Results differ by rounding alone.

    The switch is read in the forward pass, for the whole process. With activation
    checkpointing, keep the backward pass inside, too. mmpretrain's own Swin blocks need
    float32 or autocast, so their twin does not run with weights of half precision.

    Args:
        enabled: False switches back to the fast paths. Defaults to True.

    Example:
        >>> import torch
        >>> from esvit_plugin.models import EsViTSwin, plain_twins
        >>> backbone, images = EsViTSwin(arch='tiny').eval(), torch.rand(1, 3, 64, 64)
        >>> with plain_twins():
        ...     plain = backbone(images)[-1]
        >>> torch.allclose(plain, backbone(images)[-1], atol=1e-4)
        True
    """
    global _plain
    before, _plain = _plain, enabled
    try:
        yield
    finally:
        _plain = before


def use_plain() -> bool:
    """Whether the plain twins are to run."""
    return _plain
