from .data_preprocessor import MultiCropDataPreprocessor
from .esvit import EsViT
from .view_groups import ViewFeatures
from .view_list import ViewListDataPreprocessor

__all__ = [
    'EsViT',
    'MultiCropDataPreprocessor',
    'ViewFeatures',
    'ViewListDataPreprocessor',
]
