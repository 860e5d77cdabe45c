from .swin import EsViTSwin, swin_from_released

__all__ = ['EsViTSwin', 'swin_from_released']
