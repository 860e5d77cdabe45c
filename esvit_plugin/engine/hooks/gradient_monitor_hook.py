"""Gradient norms of the first and the last layer, and a warning of spikes."""

import functools
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ...torch_calls import foreach_norm
from ..resume import wrapper_parts
from .utils import is_log_time, unwrap_model

FIRST, LAST = 'grad_norm_first', 'grad_norm_last'


@HOOKS.register_module()
class GradientMonitorHook(Hook):
    """Logs the gradient norms of the backbone's first and last layer; warns of spikes.

    MoCo v3 (arXiv 2104.02057, Section 4) found that vision transformers lose accuracy
    without a sign in the loss, and that the gradient of the first layer spikes some
    steps before. The log has ``grad_norm_first`` and ``grad_norm_last`` of every step:
    L2 norms over a layer's parameters, as the loss gives them, averaged over processes
    and accumulated iterations, without a loss scale and before clipping. Steps that
    mixed precision skips for an overflow have none.

    The layers are the first and the last of the backbone's modules that have a trained
    matrix or convolution: the patch embedding, or queries, keys and values of the first
    block where it is frozen, and a layer of the last block (the last of a ViT's MLP,
    the projection of a Swin's attention, the last convolution of a ResNet). A frozen
    backbone has none, and the hook does nothing.

    A step is a spike if the norm of its first layer exceeds ``factor`` times the median
    of the up to ``window`` steps before it, of which there must be 20. After one, the
    next ``window`` iterations give no other warning. Norms stay on the device until
    they are logged, so a warning may come an interval of the logger late; it names the
    iteration. The steps before come from the log's history, which ``--resume`` keeps.

    Args:
        factor: Times the median that make a spike. Defaults to 5.0.
        window: Steps before that count. Defaults to 100.
        first: Name of another module of the backbone to take as the first layer.
            Defaults to None, as said above.
        last: Likewise of the last.

    Raises:
        ValueError: If ``factor`` is not above 1 or ``window`` below 20; in training, if
            the backbone has no module of such a name, or none of it is trained.
    """

    # After RuntimeInfoHook (VERY_HIGH), before LoggerHook (BELOW_NORMAL) writes.
    priority = 'NORMAL'
    min_steps = 20

    def __init__(
        self,
        factor: float = 5.0,
        window: int = 100,
        first: str | None = None,
        last: str | None = None,
    ) -> None:
        if not 1 < factor < math.inf:
            raise ValueError(
                f'GradientMonitorHook: factor must be above 1, got {factor}.'
            )
        if window < self.min_steps:
            raise ValueError(
                f'GradientMonitorHook: window must be {self.min_steps} or more steps, '
                f'got {window}.'
            )
        self.factor = factor
        self.window = window
        self.names = {FIRST: first, LAST: last}
        self._layers: dict[str, list[nn.Parameter]] = {}
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._quiet_until = -1

    def before_train(self, runner: Runner) -> None:
        """Find the layers, and attach to the optimiser's wrapper."""
        model = unwrap_model(runner)
        backbone = getattr(model, 'backbone', model)
        layers = find_layers(backbone, self.names)
        self._layers = {key: params for key, (_, params) in layers.items()}
        self._waiting = []
        self._quiet_until = -1
        if not layers:
            return
        shown = ', '.join(f'{key}: {name}' for key, (name, _) in layers.items())
        runner.logger.info(f'GradientMonitorHook logs {shown} of the backbone')
        for part in wrapper_parts(runner.optim_wrapper).values():
            # Hooks of the optimiser itself come after clipping.
            part.step = self._watched(runner, part, part.step)

    def _watched(
        self, runner: Runner, wrapper: OptimWrapper, step: Callable[..., None]
    ) -> Callable[..., None]:
        """The wrapper's step, with a look at the gradients before."""
        own = {id(p) for g in wrapper.optimizer.param_groups for p in g['params']}

        @functools.wraps(step)  # schedules look for their mark on it
        def watched(**kwargs: Any) -> None:
            norms = {}
            for key, params in self._layers.items():
                grads = [p.grad for p in params if id(p) in own and p.grad is not None]
                if grads:
                    parts = foreach_norm(grads)
                    norm = torch.linalg.vector_norm(torch.stack(parts).float())
                    norms[key] = norm / _loss_scale(wrapper, norm)
            if norms:
                self._waiting.append((runner.iter, norms))
            step(**kwargs)

        return watched

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Fetch what waits, if it is to be logged."""
        if self._waiting and is_log_time(self, runner, batch_idx):
            self._fetch(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put what waits into the history of the checkpoint."""
        if self._waiting:
            self._fetch(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def _fetch(self, runner: Runner) -> None:
        """Read all norms in one transfer, log them, and look for a spike."""
        stacked = torch.stack([v for _, norms in self._waiting for v in norms.values()])
        values = iter(stacked.tolist())
        for iteration, norms in self._waiting:
            for key in norms:
                value = next(values)
                if not math.isfinite(value):
                    continue  # the step was skipped, or FiniteGuardHook stops
                if key == FIRST and iteration >= self._quiet_until:
                    self._look(runner, iteration, value)
                runner.message_hub.update_scalar(f'train/{key}', value)
        self._waiting.clear()

    def _look(self, runner: Runner, iteration: int, norm: float) -> None:
        """Warn of a norm that is a spike after those of the log."""
        history = runner.message_hub.log_scalars.get(f'train/{FIRST}')
        past = [] if history is None else history.data[0][-self.window :]
        if len(past) < self.min_steps:
            return
        median = float(np.median(past))
        if norm <= self.factor * median:
            return
        self._quiet_until = iteration + self.window
        print_log(
            f"The gradient of the backbone's first layer spikes in iteration "
            f'{iteration + 1}: its norm is {norm:.3g}, the median of the {len(past)} '
            f'steps before {median:.3g}. Vision transformers lose accuracy after such '
            'spikes, which the loss may not show (MoCo v3, arXiv 2104.02057). What '
            'helps: a patch embedding that is not trained (stop_grad_conv1 of MoCo '
            'v3), a lower learning rate, a longer warm-up, a smaller batch, clip_grad.',
            logger='current',
            level=logging.WARNING,
        )


def find_layers(
    backbone: nn.Module, names: dict[str, str | None] | None = None
) -> dict[str, tuple[str, list[nn.Parameter]]]:
    """The first and the last layer of a backbone with a trained matrix.

    Args:
        backbone: Its modules count in the order in which they are registered.
        names: Names of other modules for 'grad_norm_first' and 'grad_norm_last'.
            Defaults to None.

    Returns:
        Name and trained parameters of each; empty if nothing is trained.

    Raises:
        ValueError: If there is no module of such a name, or it has no trained
            parameter.
    """
    modules = dict(backbone.named_modules())
    matrices = [
        name
        for name, module in modules.items()
        if any(p.requires_grad and p.ndim > 1 for p in module.parameters(False))
        # Tokens and positions of the whole are no layer.
        and name
    ]
    found = {}
    for key, index in ((FIRST, 0), (LAST, -1)):
        name = (names or {}).get(key)
        if name is None:
            if not matrices:
                continue
            name = matrices[index]
        elif name not in modules:
            raise ValueError(
                f'GradientMonitorHook: the backbone, a {type(backbone).__name__}, has '
                f'no module {name!r}; its parts are '
                f'{", ".join(n for n, _ in backbone.named_children())}.'
            )
        params = [p for p in modules[name].parameters() if p.requires_grad]
        if not params:
            raise ValueError(
                f'GradientMonitorHook: nothing of the module {name!r} of the backbone '
                'is trained, so it has no gradient; name another one.'
            )
        found[key] = name, params
    return found


def _loss_scale(wrapper: OptimWrapper, like: Tensor) -> Tensor:
    """What the gradients are multiplied by; it stays on the device."""
    one = torch.ones_like(like)
    scaler = getattr(wrapper, 'loss_scaler', None)
    return one if scaler is None else scaler.scale(one)
