from .dino_projection import DINOProjection
from .mae_decoder import MAELiteDecoder

__all__ = ['DINOProjection', 'MAELiteDecoder']
