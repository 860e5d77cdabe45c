"""Logged scalars without waiting for the device at each iteration."""

from typing import Any

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from .utils import is_log_time


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook`` that fetches scalars only when they are logged.

    mmengine reads every loss back at each iteration, so the host waits until the
    device has done all its work before it prepares the next batch. This hook keeps
    the losses on the device, and the gradients' norm where an optimiser wrapper clips,
    and fetches those of all iterations in one transfer when a ``LoggerHook`` is about
    to write, at the end of an epoch and at the end of training. The history in the
    message hub is the same, but only its last values are kept: mmengine copies up to a
    million at each iteration, and saves them in each checkpoint.

    Use it as ``default_hooks = dict(runtime_info=dict(type='LazyRuntimeInfoHook'))``.

    Args:
        max_history: Number of values kept of each logged scalar. Defaults to 10000.

    Raises:
        ValueError: If ``max_history`` is not positive.
    """

    def __init__(self, max_history: int = 10000) -> None:
        if max_history < 1:
            raise ValueError(
                f'LazyRuntimeInfoHook: max_history must be >= 1, got {max_history}.'
            )
        self.max_history = max_history

    def before_train(self, runner: Runner) -> None:
        """Begin with no values waiting."""
        super().before_train(runner)
        self._waiting: list[dict[str, Any]] = []
        wrapper: Any = runner.optim_wrapper
        clip = getattr(wrapper, 'clip_func', None)
        if clip is not None:

            def keep_norm(*args: Any, **kwargs: Any) -> None:
                # mmengine's wrappers would read back what is returned.
                wrapper.grad_norm = clip(*args, **kwargs)

            wrapper.clip_func = keep_norm

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the values of this iteration, or fetch all."""
        scalars = {
            # Without what it was computed from
            name: value.detach() if isinstance(value, torch.Tensor) else value
            for name, value in (outputs or {}).items()
        }
        norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        if norm is not None:  # not all iterations make a step
            scalars['grad_norm'], runner.optim_wrapper.grad_norm = norm, None
        self._waiting.append(scalars)
        if is_log_time(self, runner, batch_idx):
            self._fetch(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put what waits into the history of the checkpoint."""
        if getattr(self, '_waiting', None):
            self._fetch(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def _fetch(self, runner: Runner) -> None:
        tensors = [
            value.float().reshape(())  # refuses several values, as mmengine
            for scalars in self._waiting
            for value in scalars.values()
            if isinstance(value, torch.Tensor)
        ]
        values: list[float] = []
        if tensors:  # some may be on the CPU already
            device = tensors[0].device
            values = torch.stack([value.to(device) for value in tensors]).tolist()
        fetched = iter(values)
        for scalars in self._waiting:
            for name, value in scalars.items():
                if isinstance(value, torch.Tensor):
                    value = next(fetched)
                runner.message_hub.update_scalar(f'train/{name}', value)
        self._waiting.clear()
        for buffer in runner.message_hub.log_scalars.values():
            buffer.max_length = self.max_history
