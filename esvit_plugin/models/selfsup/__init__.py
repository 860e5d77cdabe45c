from .data_preprocessor import MultiCropDataPreprocessor
from .distilled_mae import DistilledMAE, MAETeacher
from .esvit import EsViT
from .mocov3 import MomentumEncoder, ReleasedMoCoV3
from .view_groups import ViewFeatures
from .view_list import ViewListDataPreprocessor

__all__ = [
    'DistilledMAE',
    'EsViT',
    'MAETeacher',
    'MomentumEncoder',
    'MultiCropDataPreprocessor',
    'ReleasedMoCoV3',
    'ViewFeatures',
    'ViewListDataPreprocessor',
]
