from .linear_sweep import LinearSweepClassifier

__all__ = ['LinearSweepClassifier']
