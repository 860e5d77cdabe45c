"""A cache of tensors that depend on sizes alone, right inside of any tracer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec('P')
T = TypeVar('T')


def computed_once(function: Callable[P, T]) -> Callable[P, T]:
    """Compute tensors once for each size, as constants of whatever calls.

    The 256 sizes used last are kept, of some dozens of image sizes. A graph of
    ``torch.compile`` has the tensors as data; sizes of the map must be fixed in it, the
    number of images need not.

    Args:
        function: It takes sizes as positional arguments, a device last, and returns
            tensors in any structure, which nobody may change.
    """

    @lru_cache(maxsize=256)
    def compute(*args: object) -> T:
        # What is kept serves later calls, so that a first one in inference mode,
        # torch.jit.trace or torch.export must not leave its mark. Such modes are those
        # of a thread.
        with ThreadPoolExecutor(1) as fresh:
            return fresh.submit(cast('Callable[..., T]', function), *args).result()

    @torch.compiler.assume_constant_result
    def constants(*args: object) -> tuple[T]:
        # In a tuple each has a name of its own. Two tensors of one name and unequal
        # shapes would be taken for one of a changing shape.
        return (compute(*args),)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_dynamo_compiling():
            return constants(*args)[0]
        *sizes, device = args
        # torch.jit.trace has tensors for sizes.
        return compute(*map(int, cast('list[int]', sizes)), device)

    call.cache_clear = compute.cache_clear  # type: ignore[attr-defined]
    return call
