"""CvT's weights: from the authors' names to this package's."""

import re
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor

# Name of a part in the authors' program -> name here.
_RENAMES = (
    (r'^norm\.', 'norm3.'),
    (r'^stage(\d+)\.0\.proj\.', r'stages.\1.embed.projection.'),
    (r'^stage(\d+)\.0\.norm\.', r'stages.\1.embed.norm.'),
    (r'^stage(\d+)\.1\.layers\.(\d+)\.0\.norm\.', r'stages.\1.blocks.\2.norm1.'),
    (r'^stage(\d+)\.1\.layers\.(\d+)\.0\.fn\.', r'stages.\1.blocks.\2.attn.'),
    (r'^stage(\d+)\.1\.layers\.(\d+)\.1\.norm\.', r'stages.\1.blocks.\2.norm2.'),
    (r'^stage(\d+)\.1\.layers\.(\d+)\.1\.fn\.', r'stages.\1.blocks.\2.ffn.'),
    (r'\.attn\.qkv\.dw\.', '.attn.conv.'),
    (r'\.attn\.qkv\.bn\.', '.attn.conv_norm.'),
    (r'\.attn\.qkv\.pw\.', '.attn.qkv.'),
    (r'\.attn\.proj_out\.', '.attn.proj.'),
    (r'\.ffn\.net\.0\.', '.ffn.layers.0.0.'),
    (r'\.ffn\.net\.2\.', '.ffn.layers.1.'),
)
# 1x1 convolutions there, linear layers here.
_LINEAR = ('.attn.qkv.weight', '.attn.proj.weight', '.0.0.weight', '.layers.1.weight')


def cvt_from_released(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the CvT weights of the authors' program to those of ``CvT``.

    Args:
        state_dict: Backbone weights by released name (no ``module.`` prefix).
            Names it does not know are passed on unchanged, so that a strict load
            reports them.

    Returns:
        Weights by this package's name.
    """
    converted: dict[str, Tensor] = OrderedDict()
    for name, value in state_dict.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if name.endswith(_LINEAR):
            value = value.flatten(1)
        converted[name] = value
    return converted
