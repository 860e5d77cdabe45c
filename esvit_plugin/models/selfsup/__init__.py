from .data_preprocessor import MultiCropDataPreprocessor
from .esvit import EsViT

__all__ = ['EsViT', 'MultiCropDataPreprocessor']
