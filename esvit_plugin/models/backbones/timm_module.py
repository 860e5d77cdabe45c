"""Models of timm that are built already, as backbones."""

from typing import Any

from mmpretrain.models.backbones import TIMMBackbone
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import nn


class TIMMModule(TIMMBackbone):
    """A model of timm as a backbone: what ``TIMMBackbone`` is for a name of timm.

    It gives the model's map or tokens instead of logits, and keeps its weights. In a
    state dict they have the names that they have with ``TIMMBackbone``.

    Args:
        model: The model. Its classifier is taken off, as it would never be trained.
    """

    def __init__(self, model: Any) -> None:
        BaseBackbone.__init__(self)
        self.timm_model = model
        if hasattr(model, 'reset_classifier'):
            # Nor shall it pool.
            model.reset_classifier(0, '')

    def init_weights(self) -> None:
        """Keep the weights: who built the model chose them."""


def wrap_timm(backbone: Any) -> Any:
    """Make a backbone of a model of timm; anything else stays what it is."""
    by_timm = any(c.__module__.startswith('timm.') for c in type(backbone).__mro__)
    if isinstance(backbone, nn.Module) and by_timm:
        return TIMMModule(backbone)
    return backbone
