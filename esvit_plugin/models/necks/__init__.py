from .dino_projection import DINOProjection

__all__ = ['DINOProjection']
