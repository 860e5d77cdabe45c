"""Names that older checkpoints of mmpretrain's Swin have for its tensors."""

from typing import Any

from mmpretrain.models.backbones import SwinTransformer
from torch import nn


def rename_last_norms(model: nn.Module, weights: dict[str, Any]) -> None:
    """Give the last norm of every Swin the name that it has today.

    mmpretrain's published checkpoints call it 'norm', its class 'norm3'. That renames
    it while it loads, but not in classes derived from it, and too late for those who
    compare names before.

    Args:
        model: A Swin, or a model that has some.
        weights: Tensors by the names of the model, which are changed in place.
    """
    for path, module in model.named_modules():
        if isinstance(module, SwinTransformer):
            _rename(module, weights, f'{path}.' if path else '')


def load_old_names(swin: SwinTransformer, weights: dict[str, Any], prefix: str) -> None:
    """Fit the names of an older checkpoint to a Swin that is about to load it.

    Args:
        swin: The Swin.
        weights: Tensors by name, which are changed in place: the last norm gets its
            name, and attention masks, which are computed today, are left out.
        prefix: What comes before the Swin's names.
    """
    _rename(swin, weights, prefix)
    for name in [n for n in weights if n.startswith(prefix) and 'attn_mask' in n]:
        del weights[name]


def _rename(swin: SwinTransformer, weights: dict[str, Any], prefix: str) -> None:
    old, new = f'{prefix}norm.', f'{prefix}norm{len(swin.stages) - 1}.'
    for name in [n for n in weights if n.startswith(old)]:
        weights[new + name.removeprefix(old)] = weights.pop(name)
