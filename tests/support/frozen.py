"""Models to evaluate, and images of noise for them."""

import torch

from esvit_plugin.evaluation import FrozenBackbone
from esvit_plugin.evaluation.images import IMAGENET
from esvit_plugin.models import MultiCropDataPreprocessor
from support.backbones import build


def frozen(backbone):
    """A backbone, or one of a config, in evaluation mode with ImageNet's means."""
    backbone = build(backbone) if isinstance(backbone, dict) else backbone
    return FrozenBackbone(backbone, MultiCropDataPreprocessor(**IMAGENET))


def noise_images(number, size=64):
    """Names and images as of ``open_images``, the same ones every time."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (number, size, size, 3), generator=generator)
    return [(str(i), image.numpy()) for i, image in enumerate(pixels.to(torch.uint8))]
