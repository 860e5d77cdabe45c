from .data_preprocessor import MultiCropDataPreprocessor
from .esvit import EsViT
from .mocov3 import MomentumEncoder, ReleasedMoCoV3
from .view_groups import ViewFeatures
from .view_list import ViewListDataPreprocessor

__all__ = [
    'EsViT',
    'MomentumEncoder',
    'MultiCropDataPreprocessor',
    'ReleasedMoCoV3',
    'ViewFeatures',
    'ViewListDataPreprocessor',
]
