"""Checks of options that several parts of a model have, each with one message."""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

# Logits are products of unit vectors: divided by less, their softmax is one-hot.
LEAST_TEMPERATURE = 1e-4


def check_temperatures(owner: str, **temperatures: float) -> None:
    """Refuse temperatures that overflow or vanish.

    Args:
        owner: Who takes them, for the message.
        **temperatures: The options.

    Raises:
        ValueError: If one is below 1e-4 or not finite.
    """
    if not all(LEAST_TEMPERATURE <= t < math.inf for t in temperatures.values()):
        given = ' and '.join(f'{name}={t}' for name, t in temperatures.items())
        raise ValueError(
            f'{owner}: temperatures must be finite and at least {LEAST_TEMPERATURE}, '
            f'got {given}; the paper uses 0.1 for the student, 0.04 to 0.07 for the '
            'teacher and 0.07 for k-NN.'
        )


def check_prototypes(owner: str, out_channels: int) -> None:
    """Refuse fewer than two prototypes, of which every softmax is 1 and every loss 0.

    Args:
        owner: Who takes the number, for the message.
        out_channels: The number K.

    Raises:
        ValueError: If it is below 2.
    """
    if out_channels < 2:
        raise ValueError(
            f'{owner}: out_channels must be at least 2, or there is nothing to tell '
            f'apart, got {out_channels}; the paper has 65536 prototypes, and a neck '
            'and its head need the same number.'
        )


def check_stages(
    owner: str, num_stages: int, out_indices: Sequence[int], frozen_stages: int
) -> None:
    """Refuse stages that do not exist.

    Args:
        owner: The backbone, for the message.
        num_stages: How many it has.
        out_indices: Stages whose output is returned.
        frozen_stages: Last stage that is not trained, -1 for none.

    Raises:
        ValueError: If one does not exist.
    """
    stages = range(num_stages)
    wrong = [i for i in out_indices if i not in stages]
    if wrong or frozen_stages not in (-1, *stages):
        raise ValueError(
            f'{owner} has the stages 0 to {num_stages - 1}, but got '
            f'out_indices={tuple(out_indices)} and frozen_stages={frozen_stages} (-1 '
            'freezes none).'
        )


def check_drop_path(owner: str, drop_path_rate: float) -> None:
    """Refuse a rate outside [0, 1).

    Args:
        owner: The backbone, for the message.
        drop_path_rate: Stochastic depth rate of its last block.

    Raises:
        ValueError: If it is outside.
    """
    if not 0 <= drop_path_rate < 1:
        raise ValueError(
            f'{owner}: drop_path_rate must be in [0, 1), got {drop_path_rate}; it is '
            'the probability that the last block is left out, 0.1 in the paper.'
        )


def check_at_least(
    owner: str, least: int, remedy: str, **sizes: int | Sequence[int]
) -> None:
    """Refuse sizes below a number.

    Args:
        owner: Who takes them, for the message.
        least: The least allowed.
        remedy: What to pass instead.
        **sizes: The options, each one size or several.

    Raises:
        ValueError: If one is smaller.
    """
    for name, size in sizes.items():
        if (min(size) if isinstance(size, Sequence) else size) < least:
            raise ValueError(
                f'{owner}: {name} must be at least {least}, got {size}; {remedy}.'
            )


def height_and_width(owner: str, img_size: Any) -> tuple[int, int]:
    """The sides of an ``img_size``, which is one number or two.

    Args:
        owner: The backbone, for the message.
        img_size: What it was given.

    Returns:
        Height and width in pixels.

    Raises:
        ValueError: If it is neither a whole number nor two.
    """
    sides = img_size if isinstance(img_size, Sequence) else (img_size, img_size)
    if len(sides) != 2 or not all(isinstance(side, Integral) for side in sides):
        raise ValueError(
            f'{owner}: img_size must be one number of pixels or (height, width), got '
            f'{img_size!r}.'
        )
    return int(sides[0]), int(sides[1])


def check_image(owner: str, images: Tensor, patch: int) -> None:
    """Refuse images in which not one patch fits, before anything is computed.

    Args:
        owner: The backbone, for the message.
        images: The images (B, C, H, W).
        patch: Side of a patch in pixels.

    Raises:
        ValueError: If a side is shorter.
    """
    if min(images.shape[-2:]) < patch:
        height, width = images.shape[-2:]
        raise ValueError(
            f'{owner} cuts images into patches of {patch} px, but got one of {height} '
            f'x {width} px; use larger crops, or resize the images.'
        )


def check_normalised(owner: str, images: Tensor, preprocessor: Any) -> None:
    """Refuse images that are not numbers to compute with, and warn of those in [0, 1].

    What ``ToTensor`` of torchvision gives lies in [0, 1]; features of such images are
    wrong without a sign of it.

    Args:
        owner: The model, for the messages.
        images: What it was given.
        preprocessor: Its ``data_preprocessor``: where that makes numbers of [0, 1],
            they are right.

    Raises:
        ValueError: If they are not of a floating-point type.
    """
    remedy = (
        'esvit_plugin.prepare_images(images, model) makes what is needed of paths, '
        'images of PIL, and uint8 arrays and tensors'
    )
    if not images.is_floating_point():
        raise ValueError(
            f'{owner} takes normalised RGB images, got {images.dtype}; {remedy}.'
        )
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or not images.numel():
        return
    low, high = (end.item() for end in images.detach().aminmax())
    if 0 <= low < high <= 1 and not _unit_range(preprocessor):
        _warn_once(
            f'{owner} takes normalised RGB images, but all numbers lie in [0, 1], '
            f'which gives other features; {remedy}. This is said once.'
        )


@lru_cache
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def _unit_range(preprocessor: Any) -> bool:
    """Whether a preprocessor makes numbers in [0, 1]."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if mean is None or std is None:
        return False
    return bool(((mean <= 0) & (255 - mean <= std)).all())
