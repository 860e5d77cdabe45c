from .cvt import CvT, cvt_from_released
from .swin import EsViTSwin, swin_from_released
from .vil import ViL, vil_from_released

__all__ = [
    'CvT',
    'EsViTSwin',
    'ViL',
    'cvt_from_released',
    'swin_from_released',
    'vil_from_released',
]
