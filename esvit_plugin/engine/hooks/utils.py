"""What several hooks ask of a runner."""

from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.optim import Optimizer


def unwrap_model(runner: Runner) -> Any:
    """The model without its distributed wrapper."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def train_epoch(runner: Runner) -> int:
    """The epoch, counted from 0, in epoch-based and iteration-based loops."""
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return runner.epoch
    return runner.iter // len(runner.train_dataloader)


def single_optimizer(runner: Runner, hook: object) -> Optimizer:
    """The optimiser inside the wrapper.

    Raises:
        TypeError: If the runner has several optimisers.
    """
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f'{type(hook).__name__} needs one optimiser, but optim_wrapper is a '
            f'{type(runner.optim_wrapper).__name__}.'
        )
    return optimizer
