"""ViL's weights: from the authors' names to this package's."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor

# Name of a part in the authors' program -> name here.
_RENAMES = {
    'cls_token': 'global_tokens',
    'proj': 'embed.projection',
    'norm_embed': 'embed.norm',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
    'attn.local_relative_position_bias_table': 'attn.relative_position_bias_table',
    'attn.g2l_relative_position_bias': 'attn.global_local_bias',
    'attn.g2g_relative_position_bias': 'attn.global_global_bias',
}


def vil_from_released(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the ViL weights of the authors' program to those of ``ViL``.

    Args:
        state_dict: Backbone weights by released name (no ``module.`` prefix).
            Names it does not know are passed on unchanged, so that a strict load
            reports them.

    Returns:
        Weights by this package's name.
    """
    converted: dict[str, Tensor] = OrderedDict()
    last_stage = max(int(k[5]) for k in state_dict if k.startswith('layer')) - 1
    for released, value in state_dict.items():
        if released.endswith('relative_position_index'):
            continue  # follows from the shapes
        if not released.startswith('layer'):
            converted[released.replace('norm.', f'norm{last_stage}.')] = value
            continue
        stage, index, part = released.split('.', 2)
        prefix = f'stages.{int(stage[5:]) - 1}.'
        # Embedding, then attention and feed-forward network of each block in turn.
        block, is_ffn = divmod(int(index) - 1, 2)
        if int(index) > 0:
            prefix += f'blocks.{block}.'
            if part.startswith('norm.'):
                part = part.replace('norm.', 'norm2.' if is_ffn else 'norm1.')
        # Global tokens share the local ones' projections, stored under both names.
        # The later name counts, as when the authors' program loads them.
        part = part.replace('_global.', '.')
        for old, new in _RENAMES.items():
            if part == old or part.startswith(old + '.'):
                part = part.replace(old, new, 1)
        converted[prefix + part] = value
    return _join_qkv(converted)


def _join_qkv(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stack separate ``query`` and ``kv`` to ``qkv``."""
    joined: dict[str, Tensor] = OrderedDict()
    for name, value in state_dict.items():
        if '.attn.kv.' in name:
            continue
        if '.attn.query.' in name:
            kv = state_dict[name.replace('.query.', '.kv.')]
            joined[name.replace('.query.', '.qkv.')] = torch.cat([value, kv])
        else:
            joined[name] = value
    return joined
