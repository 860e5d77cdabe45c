from .cvt import CvT
from .dino_vit import DINOVisionTransformer
from .swin import EsViTSwin
from .vil import ViL

__all__ = [
    'CvT',
    'DINOVisionTransformer',
    'EsViTSwin',
    'ViL',
]
