"""Optimiser wrappers that clip each parameter's gradient by its own norm."""

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import Tensor

from ...torch_calls import foreach_mul_, foreach_norm
from ...type_names import type_name
from .mixed_precision import MixedPrecisionOptimWrapper


class _PerParamClip:
    """Replaces the clipping of mmengine's optimiser wrappers."""

    grad_norm: Tensor | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        clip_grad = kwargs.get('clip_grad')
        if clip_grad is not None and set(clip_grad) != {'max_norm'}:
            raise ValueError(
                f'{type(self).__name__} clips every parameter by its own norm and '
                'takes clip_grad=dict(max_norm=...) only, got '
                f'clip_grad={dict(clip_grad)}.'
            )
        if clip_grad is not None and not 0 < clip_grad['max_norm'] < math.inf:
            raise ValueError(
                f'{type(self).__name__}: clip_grad.max_norm must be positive and '
                f'finite, got {clip_grad["max_norm"]}; for no clipping pass '
                'optim_wrapper.clip_grad=None.'
            )
        super().__init__(*args, **kwargs)

    def _clip_grad(self) -> None:
        groups = self.optimizer.param_groups  # type: ignore[attr-defined]
        params = [p for group in groups for p in group['params']]
        grads = [part for p in params if p.grad is not None for part in _parts(p)]
        if not grads:
            return
        max_norm = self.clip_grad_kwargs['max_norm']  # type: ignore[attr-defined]
        norms = torch.stack(foreach_norm(grads))
        factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        foreach_mul_(grads, list(factors.unbind()))
        # mmengine would read it back here, between the backward pass and the step.
        self.grad_norm = torch.linalg.vector_norm(norms)


def twin_of_amp(filename: str | None) -> str:
    """What ``EsViTRunner`` takes in place of mmengine's ``AmpOptimWrapper``.

    ``--amp`` of mmpretrain's own programs replaces any wrapper by that one, which
    clips all gradients together.

    Args:
        filename: The file of the run's config, which has the wrapper that was meant.
            None: there is none.

    Returns:
        The name of a wrapper of this package, one that clips each parameter's gradient
        by its own norm if the file's does.
    """
    if filename is not None and os.path.isfile(filename):
        meant = Config.fromfile(filename).get('optim_wrapper') or {}
        if type_name(meant).startswith('PerParamClip'):
            name = PerParamClipAmpOptimWrapper.__name__
            print_log(
                f'{filename} clips every parameter by its own norm: {name} is taken '
                'in place of AmpOptimWrapper, which clips all together. To clip all '
                "together, write type='MixedPrecisionOptimWrapper' into the file.",
                logger='current',
            )
            return name
    return MixedPrecisionOptimWrapper.__name__


def _parts(param: Any) -> Sequence[Tensor]:
    """The gradient, in parts where the release has several parameters.

    A parameter that joins several along its first axis says so by ``clip_rows``, the
    number of rows of each.
    """
    rows = getattr(param, 'clip_rows', None)
    return [param.grad] if rows is None else param.grad.split(rows)


@OPTIM_WRAPPERS.register_module()
class PerParamClipOptimWrapper(_PerParamClip, OptimWrapper):
    """mmengine's ``OptimWrapper`` that clips every parameter by its own norm.

    DINO and EsViT scale each parameter's gradient down to ``max_norm`` by itself,
    not all of them together. With ``LazyRuntimeInfoHook`` the log shows
    ``grad_norm``, the norm of all gradients before clipping; it stays on the device.

    Args:
        clip_grad: ``dict(max_norm=3.0)`` in the paper's recipe, or None.
        **kwargs: Other options of mmengine's ``OptimWrapper``, e.g.
            ``accumulative_counts``.

    Raises:
        ValueError: If ``clip_grad`` has other keys than ``max_norm``, or that is not
            positive and finite.
    """


@OPTIM_WRAPPERS.register_module()
class PerParamClipAmpOptimWrapper(_PerParamClip, MixedPrecisionOptimWrapper):
    """The same with automatic mixed precision, as ``--amp`` selects it.

    Args:
        loss_scale: As in ``MixedPrecisionOptimWrapper``.
        dtype: As in ``MixedPrecisionOptimWrapper``: by default float16 on a GPU,
            bfloat16 on a CPU.
        **kwargs: Options of ``PerParamClipOptimWrapper``.

    Raises:
        ValueError: If ``dtype`` is none of the two or cannot be trained in here, or
            ``clip_grad`` has other keys than ``max_norm``, or that is not positive and
            finite.
    """
