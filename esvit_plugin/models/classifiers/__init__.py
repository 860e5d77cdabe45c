from .hard_distillation import (
    DistilledLinearClsHead,
    HardDistilledClassifier,
    TIMMTeacher,
)
from .linear_sweep import LinearSweepClassifier

__all__ = [
    'DistilledLinearClsHead',
    'HardDistilledClassifier',
    'LinearSweepClassifier',
    'TIMMTeacher',
]
