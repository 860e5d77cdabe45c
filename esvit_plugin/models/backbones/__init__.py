from .cvt import CvT
from .dino_vit import DINOVisionTransformer
from .mae_vit import MAELiteViT
from .mocov3_vit import MoCoV3VisionTransformer
from .swin import EsViTSwin
from .vil import ViL

__all__ = [
    'CvT',
    'DINOVisionTransformer',
    'EsViTSwin',
    'MAELiteViT',
    'MoCoV3VisionTransformer',
    'ViL',
]
