"""The learning rate, and the batch that it is for."""

from collections.abc import Mapping
from typing import Any

from mmengine.runner import Runner

from .resume import wrapper_parts


def scale_lr(
    runner: Runner, optim_wrapper: Any, auto_scale_lr: Mapping[str, Any] | None = None
) -> None:
    """Scale learning rates by the real over the original batch, or say if they differ.

    mmengine's ``Runner.scale_lr`` takes images x processes for the batch, also where
    gradients of several iterations are accumulated for a step.

    Args:
        runner: The Runner, with its loop.
        optim_wrapper: Its optimiser wrapper, as built.
        auto_scale_lr: ``base_batch_size``, and whether to scale, ``enable``.

    Raises:
        ValueError: If it is to scale, but a batch has no number of images.
    """
    settings = auto_scale_lr or {}
    base, scales = settings.get('base_batch_size'), settings.get('enable', False)
    loader: Any = runner.train_dataloader
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    if not base or not size:
        if scales:
            what = 'train_dataloader.batch_size' if base else 'base_batch_size'
            raise ValueError(
                f'auto_scale_lr.enable: there is no {what} to scale the learning rate '
                'by; set it, or leave out --auto-scale-lr.'
            )
        return
    messages = []
    for part in wrapper_parts(optim_wrapper).values():
        steps = getattr(part, '_accumulative_counts', 1)
        batch = runner.world_size * size * steps
        parts = f'{runner.world_size} x {size} images'
        parts += f' x {steps} accumulated' if steps > 1 else ''
        if scales:
            for group in part.optimizer.param_groups:
                group['lr'] *= batch / base
            messages.append(
                f'LR is set based on batch size of {base} and the current batch size '
                f'is {batch} ({parts}). Scaling the original LR by {batch / base}.'
            )
        elif batch != base:
            messages.append(
                f'The learning rate is for batches of {base} images, and these have '
                f'{batch} ({parts}): --auto-scale-lr (auto_scale_lr.enable=True) '
                'scales it.'
            )
    for message in dict.fromkeys(messages):
        runner.logger.info(message)
