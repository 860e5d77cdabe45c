"""The plain vision transformer, with the initial weights of DINO's program."""

from typing import Any

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

from ...type_names import loads_weights
from .frozen_vit import FreezableVisionTransformer


@MODELS.register_module()
class DINOVisionTransformer(FreezableVisionTransformer):
    """mmpretrain's ``VisionTransformer`` that starts as DINO's does (arXiv 2104.14294).

    Same layers, options and parameter names; only fresh weights differ. Those of all
    linear layers, the class token and the position embedding come from a truncated
    normal of std 0.02, biases are 0, and the patch embedding keeps torch's default.
    mmpretrain's own draws wider weights (std 0.03 in DeiT-S) and starts with a class
    token of 0.

    Args:
        **kwargs: Options of ``VisionTransformer``; ``out_type='raw'`` for ``EsViT``.

    Example:
        >>> from esvit_plugin.models import DINOVisionTransformer
        >>> vit = DINOVisionTransformer(arch='deit-small', out_type='raw')
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        modules: list[Any] = list(self.modules())
        for module in modules:
            if hasattr(module, 'drop_prob'):
                # mmpretrain's are numpy's, on which torch.compile cannot branch.
                module.drop_prob = float(module.drop_prob)

    def init_weights(self) -> None:
        """Draw the weights, or load those of a ``Pretrained`` in ``init_cfg``."""
        if loads_weights(self.init_cfg):
            # Past VisionTransformer's, which draws positions over those of a list.
            BaseModule.init_weights(self)
            return
        super().init_weights()
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
