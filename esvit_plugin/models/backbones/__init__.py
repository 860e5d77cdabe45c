from .cvt import CvT, cvt_from_released
from .dino_vit import DINOVisionTransformer
from .swin import EsViTSwin, swin_from_released
from .vil import ViL, vil_from_released

__all__ = [
    'CvT',
    'DINOVisionTransformer',
    'EsViTSwin',
    'ViL',
    'cvt_from_released',
    'swin_from_released',
    'vil_from_released',
]
