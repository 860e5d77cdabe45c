"""One table of names for each family, read in both directions."""

import re
from collections.abc import Sequence

# (Name in the authors' program and in timm, name here) of the beginning of a tensor's
# name; {} is a number. The first that fits counts.
Table = Sequence[tuple[str, str]]

SWIN: Table = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('layers.{}.blocks.{}.attn.', 'stages.{}.blocks.{}.attn.w_msa.'),
    ('layers.{}.blocks.{}.mlp.fc1.', 'stages.{}.blocks.{}.ffn.layers.0.0.'),
    ('layers.{}.blocks.{}.mlp.fc2.', 'stages.{}.blocks.{}.ffn.layers.1.'),
    ('layers.{}.', 'stages.{}.'),
)
VIT: Table = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('norm.', 'ln1.'),
    ('blocks.{}.norm1.', 'layers.{}.ln1.'),
    ('blocks.{}.norm2.', 'layers.{}.ln2.'),
    ('blocks.{}.mlp.fc1.', 'layers.{}.ffn.layers.0.0.'),
    ('blocks.{}.mlp.fc2.', 'layers.{}.ffn.layers.1.'),
    ('blocks.{}.', 'layers.{}.'),
)
# The decoder of MAE.
MAE_DECODER: Table = (
    ('decoder_norm.', 'ln1.'),
    ('decoder_blocks.{}.norm1.', 'decoder_blocks.{}.ln1.'),
    ('decoder_blocks.{}.norm2.', 'decoder_blocks.{}.ln2.'),
    ('decoder_blocks.{}.mlp.fc1.', 'decoder_blocks.{}.ffn.layers.0.0.'),
    ('decoder_blocks.{}.mlp.fc2.', 'decoder_blocks.{}.ffn.layers.1.'),
)


def to_ours(name: str, table: Table) -> str:
    """The name here of a tensor of the authors' program; unknown ones unchanged.

    Example:
        >>> to_ours('blocks.3.norm2.weight', VIT)
        'layers.3.ln2.weight'
    """
    return _translate(name, table)


def to_theirs(name: str, table: Table) -> str:
    """The inverse of ``to_ours``."""
    return _translate(name, [(ours, theirs) for theirs, ours in table])


def _translate(name: str, table: Table) -> str:
    for source, target in table:
        pattern = re.escape(source).replace(r'\{\}', r'(\d+)')
        match = re.match(pattern, name)
        if match:
            return target.format(*match.groups()) + name[match.end() :]
    return name
