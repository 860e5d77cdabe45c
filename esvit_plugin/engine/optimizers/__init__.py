from .constructor import MatrixDecayOptimWrapperConstructor
from .linear_sweep import LinearSweepOptimWrapperConstructor
from .per_param_clip import PerParamClipAmpOptimWrapper, PerParamClipOptimWrapper

__all__ = [
    'LinearSweepOptimWrapperConstructor',
    'MatrixDecayOptimWrapperConstructor',
    'PerParamClipAmpOptimWrapper',
    'PerParamClipOptimWrapper',
]
