"""Pooled outputs of a backbone's last blocks, the features of linear probes."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from torch import Tensor, nn

from .view_and_regions import take_view


class BlockLayout(NamedTuple):
    """Where the blocks of a backbone are, and how their outputs are pooled.

    A backbone that has them returns this from a method ``block_layout``.

    Args:
        blocks: All blocks in order; each returns tokens (B, ..., C).
        norm: The final norm, over the last axis.
        num_normed: The last so many blocks pass the norm before they are pooled.
        pool: Function from a block and its tokens to features (B, C).
    """

    blocks: Sequence[nn.Module]
    norm: nn.Module
    num_normed: int
    pool: Callable[[nn.Module, Tensor], Tensor]


class LastBlocks:
    """Collects what the last blocks return in the next forward pass (Section 4).

    For stages the blocks' outputs are mean-pooled, or their global token is taken
    where they have one; those of the last stage pass the final norm first. For a
    ``VisionTransformer`` it is the class tokens, all of them normalised unless it has
    no final norm. A backbone
    without known blocks, e.g. a ResNet, gives its pooled last map, whatever
    ``num_blocks`` says, as the paper does.

    Args:
        backbone: The backbone.
        num_blocks: How many of the last blocks, counted over all stages.
            Defaults to 4.
        patch_mean: Whether the mean of the last block's normalised patch tokens comes
            after the class tokens, as DINO evaluates ViT-B. Defaults to False.

    Raises:
        ValueError: If the backbone has fewer blocks, or ``patch_mean`` is asked of one
            that has no class token.

    Example:
        >>> with LastBlocks(backbone, 4) as last:
        ...     maps = backbone(images)
        >>> features = last.features()
    """

    def __init__(
        self, backbone: nn.Module, num_blocks: int = 4, patch_mean: bool = False
    ) -> None:
        self.backbone: Any = backbone
        self.layout = _layout(backbone)
        self.patch_mean = patch_mean
        if patch_mean and (self.layout is None or self.layout.pool is not _class_token):
            raise ValueError(
                f'patch_mean=True is for backbones with a class token; the features of '
                f'this {type(backbone).__name__} are means of positions already.'
            )
        self.sources: list[nn.Module] = [backbone]
        if self.layout:
            blocks = self.layout.blocks
            if not 1 <= num_blocks <= len(blocks):
                raise ValueError(
                    f'num_blocks={num_blocks}, but this {type(backbone).__name__} has '
                    f'{len(blocks)} blocks.'
                )
            self.sources = list(blocks[-num_blocks:])

    def __enter__(self) -> 'LastBlocks':
        self.outputs: list[Any] = []
        self._handles = [
            source.register_forward_hook(lambda _m, _i, out: self.outputs.append(out))
            for source in self.sources
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def features(self) -> Tensor:
        """Features (B, sum of the blocks' widths), earliest block first."""
        if not self.layout:
            return take_view(self.backbone, self.outputs[0])
        _, norm, num_normed, pool = self.layout
        num_plain = max(0, len(self.outputs) - num_normed)
        tokens = self.outputs[:num_plain] + [norm(o) for o in self.outputs[num_plain:]]
        pooled = [pool(*pair) for pair in zip(self.sources, tokens, strict=True)]
        if self.patch_mean:
            pooled.append(tokens[-1][:, self.backbone.num_extra_tokens :].mean(1))
        return torch.cat(pooled, dim=-1)


def pool_last_blocks(
    backbone: nn.Module, x: Tensor, num_blocks: int = 4, patch_mean: bool = False
) -> Tensor:
    """Run a backbone and pool the outputs of its last blocks; see ``LastBlocks``.

    Args:
        backbone: The backbone.
        x: Images, shape (B, 3, H, W).
        num_blocks: How many of the last blocks. Defaults to 4.
        patch_mean: As for ``LastBlocks``. Defaults to False.

    Returns:
        Tensor of shape (B, sum of the blocks' widths), earliest block first; then the
        mean of the patch tokens, if wanted.
    """
    with LastBlocks(backbone, num_blocks, patch_mean) as last:
        backbone(x)
    return last.features()


def has_blocks(backbone: nn.Module) -> bool:
    """Whether ``LastBlocks`` knows the blocks of this kind of backbone."""
    return _layout(backbone) is not None


def needs_last_norm(backbone: Any, last: int) -> str:
    """What to tell about stages of which the last has no norm."""
    return (
        f'{type(backbone).__name__}: features of the last blocks need the last norm; '
        f'add {last} to out_indices={tuple(backbone.out_indices)}.'
    )


def mean_pool(_block: nn.Module, tokens: Tensor) -> Tensor:
    """Mean (B, C) of tokens (B, ..., C)."""
    return tokens.flatten(1, -2).mean(1)


def _layout(backbone: Any) -> BlockLayout | None:
    if hasattr(backbone, 'block_layout'):
        return backbone.block_layout()
    if isinstance(backbone, SwinTransformer):
        blocks = [block for stage in backbone.stages for block in stage.blocks]
        last = backbone.num_layers - 1
        if last not in backbone.out_indices:
            raise ValueError(needs_last_norm(backbone, last))
        norm = getattr(backbone, f'norm{last}')
        return BlockLayout(blocks, norm, backbone.depths[-1], mean_pool)
    if isinstance(backbone, VisionTransformer) and backbone.num_extra_tokens:
        layers = backbone.layers
        # The last layer's output is normalised outside it, like the others' here, or
        # none is: networks that are fine-tuned on pooled patches have no such norm.
        norm = backbone.ln1 if backbone.final_norm else nn.Identity()
        return BlockLayout(layers, norm, len(layers), _class_token)
    return None


def _class_token(_block: nn.Module, tokens: Tensor) -> Tensor:
    return tokens[:, 0]
