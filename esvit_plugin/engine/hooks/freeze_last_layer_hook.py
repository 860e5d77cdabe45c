"""Prototypes that wait for the features."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.optim import Optimizer

from .utils import single_optimizer, train_epoch, unwrap_model


@HOOKS.register_module()
class FreezeLastLayerHook(Hook):
    """Keeps the prototypes of both necks fixed during the first epochs.

    Their gradients are dropped before the optimiser steps, so that it leaves them
    alone altogether: no weight decay and no momentum either. They keep
    ``requires_grad``, because distributed training expects every gradient.

    Args:
        freeze_epochs: Number of epochs. Defaults to 1, as in the paper's runs.

    Raises:
        ValueError: If ``freeze_epochs`` is negative.
    """

    def __init__(self, freeze_epochs: int = 1) -> None:
        if freeze_epochs < 0:
            raise ValueError(
                f'FreezeLastLayerHook: freeze_epochs must be >= 0, got {freeze_epochs}.'
            )
        self.freeze_epochs = freeze_epochs

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimiser."""
        model = unwrap_model(runner)
        necks = [neck for neck in (model.neck, model.region_neck) if neck is not None]

        def drop(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
            if train_epoch(runner) < self.freeze_epochs:
                for neck in necks:
                    for param in neck.last_layer.parameters():
                        param.grad = None

        single_optimizer(runner, self).register_step_pre_hook(drop)
