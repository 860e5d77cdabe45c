"""A GPU that is not there: whatever would make the host wait for one raises.

Tensors of the host are real. Those of the GPU have a shape and a type, but no values
(torch's ``FakeTensorMode``), so that code which asks for a value, or for a number of
elements that depends on values, cannot go on; copies from and to the host are seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import amp as mmengine_amp
from mmengine.runner import runner as mmengine_runner
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.cuda.amp import common as cuda_amp
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from esvit_plugin.engine.optimizers import mixed_precision
from esvit_plugin.models.layers import layout_cache

GPU = torch.device('cuda', 0)


class HostWait(AssertionError):
    """The host would wait for the GPU here."""


@cache
def _fake_mode() -> FakeTensorMode:
    """One for all tests: layouts of windows are kept from one to the next."""
    return FakeTensorMode(allow_non_fake_inputs=True)


class _HalfFake(TorchDispatchMode):
    """Computes on the host as ever, and pretends to on the GPU.

    Attributes:
        may_wait: Whether copies to the GPU may wait.
        copies: Shapes of what was copied to the GPU.
        types: The types of products under autocast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.may_wait = False
        self.copies: list[tuple[int, ...]] = []
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            # Autograd asks, and would begin to work with CUDA itself.
            return torch.device('meta')
        tensors = [
            x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)
        ]
        device = kwargs.get('device')
        if device is not None and torch.device(device).type == 'meta':
            kwargs = {**kwargs, 'device': GPU}
        goes_to_gpu = device is not None and torch.device(device).type != 'cpu'
        if not goes_to_gpu and not any(isinstance(x, FakeTensor) for x in tensors):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            self._look(func, args, kwargs)
        elif any(x.dim() and not isinstance(x, FakeTensor) for x in tensors):
            raise HostWait(f'{func} has tensors of the host and of the GPU.')
        try:
            return func(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise HostWait(f'{func} needs values that are on the GPU.') from error

    def _look(self, func, args, kwargs) -> None:
        """Refuse what a copy waits for, and count those from the host."""
        if func is torch.ops.aten.copy_.default:
            target, source = args[:2]
            to, non_blocking = target.device, len(args) > 2 and args[2]
        else:
            source = args[0]
            to = torch.device(kwargs.get('device') or source.device)
            non_blocking = kwargs.get('non_blocking', False)
        shape = tuple(source.shape)
        if source.device.type == to.type:
            return
        if to.type == 'cpu':
            raise HostWait(f'A tensor of shape {shape} is copied from the GPU.')
        self.copies.append(shape)
        if not (non_blocking or self.may_wait):
            raise HostWait(
                f'A tensor of shape {shape} is copied to the GPU without non_blocking.'
            )


# What torch casts under autocast on a GPU, as far as it is met here.
LOW = {
    F.linear,
    F.conv2d,
    F.scaled_dot_product_attention,
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.mm,
    torch.bmm,
}
FULL = {F.layer_norm, F.cross_entropy, torch.softmax, torch.Tensor.softmax}


class _Autocast(TorchFunctionMode):
    """Autocast in Python; torch's own is told that the tensors are on no GPU."""

    def __init__(self, types: set[torch.dtype]) -> None:
        super().__init__()
        self.types = types

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_autocast_enabled('cuda') and 'out' not in kwargs:
            low = torch.get_autocast_dtype('cuda')
            if func in LOW or func in FULL:
                to = low if func in LOW else torch.float32
                self.types |= {low} if func in LOW else set()

                def cast(x: Any) -> Any:
                    is_cast = isinstance(x, FakeTensor) and x.is_floating_point()
                    return x.to(to) if is_cast else x

                args, kwargs = tree_map(cast, (args, kwargs))
        return func(*args, **kwargs)


@contextmanager
def forbid_host_waits() -> Iterator[_HalfFake]:
    """Run what is inside with a GPU, ``cuda:0``, that nobody may wait for.

    Tables that are computed once per size may wait, as they do so once. What prepares
    something may, too: ``watch.may_wait = True``.

    Raises:
        HostWait: Where the host would wait.
    """
    half_fake = _HalfFake()

    def compute_here(function: Any, *args: Any) -> Any:
        before, half_fake.may_wait = half_fake.may_wait, True
        try:
            result = function(*args)
        finally:
            half_fake.may_wait = before
        return SimpleNamespace(result=lambda: result)

    @contextmanager
    def no_thread(_: int) -> Iterator[Any]:
        yield SimpleNamespace(submit=compute_here)

    with (
        mock.patch.object(cuda_amp, 'amp_definitely_not_available', lambda: False),
        mock.patch.object(torch.cuda, 'is_bf16_supported', lambda *_: True),
        mock.patch.object(amp_optimizer_wrapper, 'is_cuda_available', lambda: True),
        mock.patch.object(mixed_precision, 'get_device', lambda: 'cuda'),
        mock.patch.object(mmengine_amp, 'get_device', lambda: 'cuda'),
        mock.patch.object(mmengine_runner, 'get_device', lambda: GPU),
        mock.patch.object(layout_cache, 'ThreadPoolExecutor', no_thread),
        _overwritten_parameters(),
        _fake_mode(),
        half_fake,
        _Autocast(half_fake.types),
    ):
        yield half_fake


@contextmanager
def _overwritten_parameters() -> Iterator[None]:
    """Modules take new parameters when they are moved; data cannot become fake."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
