"""Weights of only the first blocks of a plain ViT, to see which of them matter."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import nn

from ..models.vit_blocks import vit_blocks


def later_names(model: nn.Module, keep_blocks: int) -> list[str]:
    """Names of the tensors of a plain ViT that come after its first blocks.

    Args:
        model: The ViT, as for ``find_vit_blocks``.
        keep_blocks: How many blocks come before.

    Returns:
        Names in its state dict: of the later blocks, and of the last norm unless there
        are no later blocks.

    Raises:
        ValueError: If the model is no plain ViT, or has no such number of blocks.
    """
    blocks, prefix, norms, _ = vit_blocks(model, f'keep_blocks={keep_blocks}')
    depth = len(blocks)
    if keep_blocks > depth:
        raise ValueError(
            f'keep_blocks={keep_blocks}, but this {type(model).__name__} has {depth} '
            f'blocks: set init_cfg.keep_blocks to 0 to {depth}.'
        )
    later = [f'{prefix}{number}.' for number in range(keep_blocks, depth)]
    starts = (*later, *norms) if later else ()
    return [name for name in model.state_dict() if name.startswith(starts)]


@contextlib.contextmanager
def keep_first(model: Any, keep_blocks: int, path: str) -> Iterator[None]:
    """Load only what comes before a block, while mmengine loads a file into a ViT.

    All weights are drawn anew first, as without the file: a class that draws its own
    leaves that out where it shall load them.

    Args:
        model: The ViT.
        keep_blocks: How many blocks to load.
        path: The file, for messages.

    Raises:
        ValueError: As ``later_names``, and if the file lacks a weight to be loaded.
    """
    later = later_names(model, keep_blocks)
    init_cfg, model.init_cfg = model.init_cfg, None
    try:
        model.init_weights()
        if hasattr(model, '_params_init_info'):
            # Or mmengine's report would have them from the file.
            update_init_info(model, f'Drawn anew, as keep_blocks={keep_blocks}')
    finally:
        model.init_cfg = init_cfg

    def drop(_: nn.Module, state_dict: dict[str, Any], *args: Any) -> None:
        _check_whole(model, state_dict, later, path)
        for name in later:
            state_dict.pop(name, None)

    handle = model.register_load_state_dict_pre_hook(drop)
    try:
        yield
    finally:
        handle.remove()
    rest = f'{len(later)} tensors keep their initial values: ' if later else ''
    print_log(
        f'keep_blocks={keep_blocks}: what comes before block {keep_blocks + 1} is from '
        f'{path}; {rest}{", ".join(later) or "that is all"}',
        'current',
    )


def _check_whole(
    model: nn.Module, content: Mapping[str, Any], later: list[str], path: str
) -> None:
    """Refuse a file without a weight to be loaded; the last norm may be a new one."""
    norms = vit_blocks(model, 'keep_blocks').norms
    names = {name for name, _ in model.named_parameters()} - set(content) - set(later)
    missing = [name for name in sorted(names) if not name.startswith(norms)]
    if missing:
        raise ValueError(
            f'{path} lacks {len(missing)} weights that keep_blocks asks for, e.g. '
            f'{", ".join(missing[:3])}.'
        )
