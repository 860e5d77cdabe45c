"""Data sets and transforms that the OpenMMLab ecosystem lacks."""

from .bundled_photos import PHOTO_NAMES, BundledPhotos, load_photo
from .folder import UnlabeledFolder
from .image_files import ImageFiles, collate_images
from .transforms import LoadImage, MultiCrop

__all__ = [
    'PHOTO_NAMES',
    'BundledPhotos',
    'ImageFiles',
    'LoadImage',
    'MultiCrop',
    'UnlabeledFolder',
    'collate_images',
    'load_photo',
]
