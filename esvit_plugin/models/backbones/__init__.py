from .cvt import CvT
from .dino_vit import DINOVisionTransformer
from .mae_vit import MAELiteViT
from .swin import EsViTSwin
from .vil import ViL

__all__ = [
    'CvT',
    'DINOVisionTransformer',
    'EsViTSwin',
    'MAELiteViT',
    'ViL',
]
