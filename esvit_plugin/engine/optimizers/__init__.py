from .constructor import MatrixDecayOptimWrapperConstructor
from .linear_sweep import LinearSweepOptimWrapperConstructor
from .mixed_precision import MixedPrecisionOptimWrapper
from .per_param_clip import PerParamClipAmpOptimWrapper, PerParamClipOptimWrapper

__all__ = [
    'LinearSweepOptimWrapperConstructor',
    'MatrixDecayOptimWrapperConstructor',
    'MixedPrecisionOptimWrapper',
    'PerParamClipAmpOptimWrapper',
    'PerParamClipOptimWrapper',
]
