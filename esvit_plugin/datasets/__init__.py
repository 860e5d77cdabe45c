"""Data sets and transforms that the OpenMMLab ecosystem lacks."""

from .bundled_photos import PHOTO_NAMES, BundledPhotos, load_photo
from .folder import UnlabeledFolder
from .transforms import LoadImage, MultiCrop

__all__ = [
    'PHOTO_NAMES',
    'BundledPhotos',
    'LoadImage',
    'MultiCrop',
    'UnlabeledFolder',
    'load_photo',
]
