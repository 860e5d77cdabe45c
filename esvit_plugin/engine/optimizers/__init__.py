from .constructor import MatrixDecayOptimWrapperConstructor
from .per_param_clip import PerParamClipAmpOptimWrapper, PerParamClipOptimWrapper

__all__ = [
    'MatrixDecayOptimWrapperConstructor',
    'PerParamClipAmpOptimWrapper',
    'PerParamClipOptimWrapper',
]
