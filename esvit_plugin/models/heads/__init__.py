from .dino_view_head import DINOViewHead
from .region_matching_head import RegionMatchingHead

__all__ = ['DINOViewHead', 'RegionMatchingHead']
