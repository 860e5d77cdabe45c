"""A training that goes wrong is stopped before it spoils what is good."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor
from torch.optim import Optimizer

from ...torch_calls import foreach_norm
from ..checkpoints import is_finite
from ..newest import read_pointer
from .utils import is_log_time, optimizers, unwrap_model

# A float16 scaler halves its factor with each skipped step, from 65536.
MIN_LOSS_SCALE = 2.0**-14
KINDS = ('the loss', 'a gradient', 'a weight')


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Stops at the first loss, gradient or weight that is not finite.

    Such a step changes neither weights nor teacher nor centre, and no checkpoint is
    written after it; the error names the iteration. On a CPU it is raised at once. A
    GPU is not waited for: the step, and all that follow, are skipped on the device
    (their outputs move the centres on, which no file keeps), and the host asks when
    values are logged and before every save. (Skipping needs an
    optimiser with ``fused=True``; with others gradients become 0 instead, so that
    weights stay finite.)

    Steps that a float16 loss scaler skips are no fault, unless they do not end: then
    its factor falls below 2**-14.

    Args:
        at_once: Whether to ask at each step. Defaults to None: on a CPU only.

    Raises:
        FloatingPointError: In training, as said above.
    """

    # Its hooks on the optimiser come before those of EMATeacherHook (NORMAL), and it
    # raises before LoggerHook and CheckpointHook act.
    priority = 'HIGH'

    def __init__(self, at_once: bool | None = None) -> None:
        self.at_once = at_once
        self._runner: Any = None
        # Iteration and kind of the first fault; -1: none.
        self._fault, self._kind = torch.tensor(-1), torch.tensor(0)

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimisers."""
        self._runner = runner
        device = next(unwrap_model(runner).parameters()).device
        if self.at_once is None:
            self.at_once = device.type == 'cpu'
        self._fault, self._kind = self._fault.to(device), self._kind.to(device)
        for optimizer in optimizers(runner):
            optimizer.register_step_pre_hook(self._before_step)
            optimizer.register_step_post_hook(self._after_step)

    def skips(self) -> Tensor | None:
        """Whether the device skips steps, a bool of shape (); None if it need not."""
        return None if self.at_once else self._fault >= 0

    def _mark(self, wrong: Tensor, kind: int) -> None:
        """Note a fault of this iteration, if it is the first."""
        if self.at_once and not bool(wrong):
            return
        # Numbers, not tensors made of lists, which a GPU would be waited for.
        first = (self._fault < 0) & wrong
        self._fault = torch.where(first, self._runner.iter, self._fault)
        self._kind = torch.where(first, kind, self._kind)
        if self.at_once:
            self._raise_fault()

    def _before_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        params = [p for group in optimizer.param_groups for p in group['params']]
        grads = [p.grad for p in params if p.grad is not None]
        if not grads:
            return
        scaled = getattr(optimizer, 'found_inf', None)
        if scaled is None:
            norm = getattr(self._runner.optim_wrapper, 'grad_norm', None)
            if norm is None:
                norm = torch.linalg.vector_norm(torch.stack(_norms(grads)))
            self._mark(~torch.isfinite(norm), 1)
        if self.at_once:
            return
        skip = self._fault >= 0
        if all(group.get('fused') for group in optimizer.param_groups):
            found_inf = skip.float()
            optimizer.found_inf = (  # type: ignore[attr-defined]
                found_inf if scaled is None else torch.maximum(found_inf, scaled)
            )
            self._set_found = scaled is None
        else:
            for grad in grads:
                grad.masked_fill_(skip, 0.0)

    def _after_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if self.__dict__.pop('_set_found', False):
            del optimizer.found_inf  # type: ignore[attr-defined]
        params = [p for group in optimizer.param_groups for p in group['params']]
        norms = torch.stack(_norms(params))
        self._mark(~torch.isfinite(norms).all(), 2)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the losses, and ask the device when values are logged."""
        losses = [
            value.detach().float().sum()
            for name, value in (outputs or {}).items()
            if 'loss' in name and isinstance(value, Tensor)
        ]
        if losses:
            wrong = ~torch.isfinite(torch.stack(losses)).all()
            self._mark(wrong.to(self._fault.device), 0)
        if is_log_time(self, runner, batch_idx):
            self.ask(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Ask before the checkpoint of the epoch is written, on all processes."""
        self.ask(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Let nothing into a file that is not finite."""
        self.ask(runner)
        for name, value in checkpoint['state_dict'].items():
            if isinstance(value, Tensor) and not is_finite(value):
                raise FloatingPointError(_message(f'{name} is', runner))

    def ask(self, runner: Runner) -> None:
        """Raise if there has been a fault.

        Raises:
            FloatingPointError: If so.
        """
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is not None and scaler.is_enabled():
            factor = scaler.get_scale()
            if factor < MIN_LOSS_SCALE:
                raise FloatingPointError(
                    _message(
                        'all steps overflow in float16 (the loss scale has fallen to '
                        f'{factor:.1e}); gradients are',
                        runner,
                    )
                )
        if self._fault >= 0:
            self._raise_fault()

    def _raise_fault(self) -> None:
        iteration, kind = int(self._fault), int(self._kind)
        raise FloatingPointError(_message(f'{KINDS[kind]} is', self._runner, iteration))


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    return list(foreach_norm([t.detach() for t in tensors]))


def _message(what: str, runner: Runner, iteration: int | None = None) -> str:
    iteration = runner.iter if iteration is None else iteration
    last = read_pointer(runner.work_dir)
    kept = f'The last good checkpoint is {last}' if last else 'There is no checkpoint'
    return (
        f'Training has gone wrong: {what} not finite in iteration {iteration + 1} of '
        f'{runner.max_iters}. {kept}; nothing was saved after the fault.\n'
        'What usually helps: a lower learning rate or a longer warm-up, bfloat16 '
        'instead of float16, clip_grad, a temperature not below 0.04, and a look at '
        'the images and at the mean and std of the data_preprocessor.'
    )
