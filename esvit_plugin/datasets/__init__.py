"""Data sets and transforms that the OpenMMLab ecosystem lacks."""

from .bundled_photos import PHOTO_NAMES, BundledPhotos, load_photo
from .folder import UnlabeledFolder
from .image_files import ImageFiles, collate_images
from .openimages import OpenImages
from .transforms import LoadImage, LoadImageFromBytes, MultiCrop
from .tsv import TSVDataset
from .tsv_file import build_tsv_index
from .webvision import WebVision
from .zip_images import ZipImages

__all__ = [
    'PHOTO_NAMES',
    'BundledPhotos',
    'ImageFiles',
    'LoadImage',
    'LoadImageFromBytes',
    'MultiCrop',
    'OpenImages',
    'TSVDataset',
    'UnlabeledFolder',
    'WebVision',
    'ZipImages',
    'build_tsv_index',
    'collate_images',
    'load_photo',
]
