"""Runner, loop, hooks, optimiser wrappers and launching."""

from . import hooks, optimizers
from .checkpoints import install_checked_loaders
from .hooks import *  # noqa: F403
from .loops import ResumableTrainLoop
from .optimizers import *  # noqa: F403
from .pretrained_init import CheckedPretrainedInit
from .runner import EsViTRunner

# From here on, mmengine's loaders run no code of a checkpoint, with any Runner.
install_checked_loaders()

__all__ = [
    *hooks.__all__,
    *optimizers.__all__,
    'CheckedPretrainedInit',
    'EsViTRunner',
    'ResumableTrainLoop',
]
