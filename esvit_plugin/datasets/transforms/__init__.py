"""Loading an image and cutting it into augmented views."""

from .loading import LoadImage, LoadImageFromBytes
from .multi_crop import MultiCrop

__all__ = ['LoadImage', 'LoadImageFromBytes', 'MultiCrop']
