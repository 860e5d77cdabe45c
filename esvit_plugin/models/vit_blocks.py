"""Where the blocks of a plain vision transformer are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmpretrain.models.backbones import TIMMBackbone, VisionTransformer
from mmpretrain.models.utils import MultiheadAttention


class ViTBlocks(NamedTuple):
    """Blocks of a plain ViT, each from tokens (B, E + T, C) to tokens.

    Args:
        blocks: All of them, in order.
        prefix: Of their names in the backbone's state dict; their numbers follow.
        norms: Prefixes of the names of the norms after them.
        num_extra: E, the number of tokens before those of the patches.
    """

    blocks: Sequence[Any]
    prefix: str
    norms: tuple[str, ...]
    num_extra: int

    def has_plain_attention(self) -> bool:
        """Whether all blocks have the usual attention, of all tokens to all."""
        return all(_is_plain(getattr(block, 'attn', None)) for block in self.blocks)


def find_vit_blocks(backbone: Any) -> ViTBlocks | None:
    """The blocks of a plain ViT.

    Args:
        backbone: mmpretrain's ``VisionTransformer``, a class derived from it, or
            timm's in a ``TIMMBackbone``.

    Returns:
        The blocks; None if the backbone is of another kind.
    """
    if isinstance(backbone, VisionTransformer):
        num_extra = backbone.num_extra_tokens
        return ViTBlocks(list(backbone.layers), 'layers.', ('ln1.', 'ln2.'), num_extra)
    if isinstance(backbone, TIMMBackbone):
        # Imported here, as it takes time.
        from timm.models import vision_transformer

        model: Any = backbone.timm_model
        if isinstance(model, vision_transformer.VisionTransformer):
            norms = ('timm_model.norm.', 'timm_model.fc_norm.')
            return ViTBlocks(
                list(model.blocks), 'timm_model.blocks.', norms, model.num_prefix_tokens
            )
    return None


def vit_blocks(backbone: Any, purpose: str) -> ViTBlocks:
    """The blocks of a plain ViT.

    Args:
        backbone: As for ``find_vit_blocks``.
        purpose: What they are for, the subject of the message.

    Raises:
        ValueError: If the backbone is of another kind.
    """
    found = find_vit_blocks(backbone)
    if found is None:
        raise ValueError(
            f"{purpose} is for plain vision transformers (mmpretrain's "
            f"VisionTransformer, what derives from it, and timm's), not for a "
            f'{type(backbone).__name__}.'
        )
    return found


def _is_plain(attn: Any) -> bool:
    # By its name for timm, which has others, e.g. with rotary positions.
    return isinstance(attn, MultiheadAttention) or type(attn).__name__ == 'Attention'
