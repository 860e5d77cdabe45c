"""Data sets and transforms that the OpenMMLab ecosystem lacks."""

from .bundled_photos import PHOTO_NAMES, BundledPhotos, load_photo
from .digits import Digits
from .folder import UnlabeledFolder
from .image_files import ImageFiles, collate_images
from .labeled_folder import LabeledFolder, ListedImageNet
from .openimages import OpenImages
from .transfer import FER2013, STL10, ArrayToBGR, PatchCamelyon, held_out
from .transfer_files import GTSRB, HatefulMemes, UCF101Frames
from .transforms import DeviceMultiCrop, LoadImage, LoadImageFromBytes, MultiCrop
from .tsv import TSVDataset
from .tsv_file import build_tsv_index
from .webvision import WebVision
from .zip_images import ZipImages

__all__ = [
    'FER2013',
    'GTSRB',
    'PHOTO_NAMES',
    'STL10',
    'ArrayToBGR',
    'BundledPhotos',
    'DeviceMultiCrop',
    'Digits',
    'HatefulMemes',
    'ImageFiles',
    'LabeledFolder',
    'ListedImageNet',
    'LoadImage',
    'LoadImageFromBytes',
    'MultiCrop',
    'OpenImages',
    'PatchCamelyon',
    'TSVDataset',
    'UCF101Frames',
    'UnlabeledFolder',
    'WebVision',
    'ZipImages',
    'build_tsv_index',
    'collate_images',
    'held_out',
    'load_photo',
]
