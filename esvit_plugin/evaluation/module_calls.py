"""What goes into the modules of a backbone, and what they return."""

from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn


class Call(NamedTuple):
    """How a module was called, and what it returned."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


def module_calls(
    backbone: nn.Module, images: Tensor, *modules: nn.Module
) -> list[Call]:
    """The last call of each of these modules while the backbone sees images.

    Args:
        backbone: The backbone. Its mode is left to the caller.
        images: Normalised images, shape (B, 3, H, W).
        *modules: Modules of the backbone.

    Returns:
        A call for each module.
    """
    calls: dict[nn.Module, Call] = {}

    def keep(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls[module] = Call(args, kwargs, output)

    with ExitStack() as stack:
        for module in modules:
            handle = module.register_forward_hook(keep, with_kwargs=True)
            stack.callback(handle.remove)
        # Not the backbone itself: compiled before, it would run without the hooks.
        backbone.forward(images)
    return [calls[module] for module in modules]
