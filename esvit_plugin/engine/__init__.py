"""Hooks, optimiser wrappers and launching."""

from . import hooks, optimizers
from .hooks import *  # noqa: F403
from .optimizers import *  # noqa: F403

__all__ = [*hooks.__all__, *optimizers.__all__]
