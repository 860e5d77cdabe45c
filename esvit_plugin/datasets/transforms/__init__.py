"""Loading an image and cutting it into augmented views."""

from .device_multi_crop import DeviceMultiCrop
from .loading import LoadImage, LoadImageFromBytes
from .multi_crop import MultiCrop

__all__ = ['DeviceMultiCrop', 'LoadImage', 'LoadImageFromBytes', 'MultiCrop']
