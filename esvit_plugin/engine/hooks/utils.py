"""What several hooks ask of a runner."""

from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook, LoggerHook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.optim import Optimizer

from ..resume import wrapper_parts


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


def optimizers(runner: Runner) -> list[Optimizer]:
    """The optimisers inside the wrapper, one or several."""
    return [part.optimizer for part in wrapper_parts(runner.optim_wrapper).values()]


def steps_apart(runner: Runner) -> int:
    """Iterations per step of the optimiser: those that accumulate gradients."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)


def find_hook(runner: Runner, kind: type) -> Any:
    """The first hook of a kind, None if there is none."""
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)


def gather_random_states(runner: Runner) -> None:
    """Have ``RandomStateHook`` put the states of this moment into a checkpoint.

    All processes must call it.
    """
    for hook in runner.hooks:
        gather = getattr(hook, 'gather_random_states', None)
        if gather is not None:
            gather()


def common_batches(loader: Any) -> int:
    """The number of batches of an evaluation's loader that all processes have.

    Some may have one more, where the sampler does not pad their shares.
    """
    return len(loader.dataset) // ((loader.batch_size or 1) * get_world_size())


def is_log_time(hook: Hook, runner: Runner, batch_idx: int) -> bool:
    """Whether a ``LoggerHook`` writes after this iteration, or an epoch ends."""
    if hook.is_last_train_iter(runner):
        return True
    if hook.end_of_epoch(runner.train_dataloader, batch_idx):
        return True
    return any(
        hook.every_n_train_iters(runner, other.interval)
        or hook.every_n_inner_iters(batch_idx, other.interval)
        for other in runner.hooks
        if isinstance(other, LoggerHook)
    )
