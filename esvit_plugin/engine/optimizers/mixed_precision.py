"""Automatic mixed precision, on a CPU too."""

import logging
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS

from ...torch_calls import cpu_has_bfloat16


@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper`` that also trains on a CPU, in bfloat16.

    ``EsViTRunner`` takes it in place of ``AmpOptimWrapper``, so ``--amp`` works where
    training does.

    Args:
        loss_scale: As in ``AmpOptimWrapper``. Defaults to None, which means 'dynamic'
            for float16 and no scaling for bfloat16, whose range is that of float32.
        dtype: 'float16' or 'bfloat16', or torch's type. Defaults to None: float16 on a
            GPU, bfloat16 on a CPU.
        **kwargs: Other options of mmengine's ``AmpOptimWrapper``.

    Raises:
        ValueError: If ``dtype`` is another one, or float16 on a CPU.
    """

    def __init__(
        self,
        loss_scale: str | float | dict | None = None,
        dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        on_cpu = get_device() == 'cpu'
        dtype = dtype or ('bfloat16' if on_cpu else 'float16')
        dtype_name = str(dtype).removeprefix('torch.')
        if dtype_name not in ('float16', 'bfloat16'):
            raise ValueError(
                f"{name}: dtype must be 'float16' or 'bfloat16', got {dtype!r}."
            )
        if on_cpu and dtype_name == 'float16':
            raise ValueError(
                f'{name}: float16 is for GPUs, and none is found: its products are '
                "slower than float32's on a CPU, and overflow. Set optim_wrapper.dtype="
                "'bfloat16', or leave out --amp."
            )
        if loss_scale is None or on_cpu:
            is_scaled = dtype_name == 'float16'
            loss_scale = 'dynamic' if is_scaled else dict(enabled=False)
        self.cast_dtype: torch.dtype = getattr(torch, dtype_name)
        if not on_cpu:
            super().__init__(loss_scale=loss_scale, dtype=dtype_name, **kwargs)
            return
        # Past mmengine's class, which wants an accelerator.
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', enabled=False)
        if not cpu_has_bfloat16():
            print_log(
                '--amp: this CPU has no instructions for bfloat16, so that float32 is '
                'faster here.',
                logger='current',
                level=logging.WARNING,
            )
