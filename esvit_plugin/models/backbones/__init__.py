from .cvt import CvT
from .dino_vit import DINOVisionTransformer
from .mocov3_vit import MoCoV3VisionTransformer
from .swin import EsViTSwin
from .vil import ViL

__all__ = [
    'CvT',
    'DINOVisionTransformer',
    'EsViTSwin',
    'MoCoV3VisionTransformer',
    'ViL',
]
