"""Swin Transformer as EsViT trains it: one network for 224-px and 96-px views."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule, ModuleList
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.registry import MODELS
from torch import Tensor

from ...type_names import loads_weights
from ..checks import (
    check_at_least,
    check_drop_path,
    check_image,
    check_stages,
    height_and_width,
)
from ..swin_names import load_old_names
from ..utils import resize_bias_table
from .swin_blocks import FusedPatchMerging, FusedSwinBlock


@MODELS.register_module()
class EsViTSwin(SwinTransformer):
    """Swin Transformer with the window rule of EsViT (Section 3.1, Appendix).

    It is mmpretrain's ``SwinTransformer`` with the same parameter names, so that
    its weights load by name. What differs is how small maps are treated:

    - A stage whose grid at ``img_size`` is not larger than ``window_size`` uses a
      window of that grid's size and never shifts. At ``window_size=14`` and 224 px
      stage 3 is 14x14 unshifted, and stage 4 has a 7x7 table. Of an oblong grid the
      shorter side counts.
    - At any other input size each stage keeps that window. The map is zero-padded
      after the first norm up to a multiple of it; padded positions take part in
      attention; a shifted stage stays shifted even when its map fits one window.

    So one set of weights serves the 224-px and the 96-px views of multi-crop
    training, and any other size. LayerNorms use eps 1e-6, as the released weights
    do; mmpretrain's default is 1e-5.

    Args:
        arch: 'tiny', 'small', 'base', 'large' or a dict with ``embed_dims``,
            ``depths`` and ``num_heads``. Defaults to 'tiny'.
        img_size: Input size in pixels, one number or (height, width), that decides
            each stage's window. Defaults to 224.
        patch_size: Side of a patch in pixels. Defaults to 4.
        window_size: Side of a window in positions, 7 or 14 in the paper.
            Defaults to 7.
        drop_path_rate: Stochastic depth rate of the last block, growing linearly
            from 0 at the first. Defaults to 0.1.
        out_indices: Stages whose output is returned, each after its own norm.
            Defaults to (3,).
        frozen_stages: Last stage that is not trained. Defaults to -1, none.
        norm_cfg: Config of every normalisation layer.
            Defaults to ``dict(type='LN', eps=1e-6)``.
        init_cfg: Initialisation. Defaults to the paper's: linear weights from a
            truncated normal of std 0.02, biases 0.
        **kwargs: Other options of mmpretrain's ``SwinTransformer``: ``with_cp``,
            ``drop_rate``, ``in_channels``, ...

    Raises:
        ValueError: If ``arch`` is unknown or incomplete, an option is one that this
            class sets itself, a stage does not exist, ``img_size`` is neither one
            number nor two, no multiple of ``patch_size`` or too small for the last
            stage, a patch or window is smaller than 1, or ``drop_path_rate`` is outside
            [0, 1).

    Example:
        >>> import torch
        >>> from esvit_plugin.models import EsViTSwin
        >>> backbone = EsViTSwin(arch='tiny', window_size=7)
        >>> [tuple(backbone(torch.rand(1, 3, s, s))[-1].shape) for s in (224, 96)]
        [(1, 768, 7, 7), (1, 768, 3, 3)]
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        img_size: int | Sequence[int] = 224,
        patch_size: int = 4,
        window_size: int = 7,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(arch, str) and arch.lower() not in self.arch_zoo:
            raise ValueError(
                f'EsViTSwin has no arch {arch!r}; choose one of '
                f'{sorted(self.arch_zoo)} or give a dict with embed_dims, depths '
                'and num_heads.'
            )
        stages = _count_stages(
            self.arch_zoo[arch.lower()] if isinstance(arch, str) else arch
        )
        _check_own(kwargs)
        check_stages('EsViTSwin', stages, out_indices, frozen_stages)
        check_drop_path('EsViTSwin', drop_path_rate)
        check_at_least('EsViTSwin', 1, 'the paper uses 4', patch_size=patch_size)
        check_at_least('EsViTSwin', 1, 'use 7 or 14', window_size=window_size)
        sides = height_and_width('EsViTSwin', img_size)
        check_at_least(
            'EsViTSwin',
            patch_size * 2 ** (stages - 1),
            f'the last of {stages} stages needs a position',
            img_size=img_size,
        )
        if any(side % patch_size for side in sides):
            raise ValueError(
                f'EsViTSwin: img_size={img_size} is no multiple of '
                f'patch_size={patch_size}; give one, as a number or (height, width).'
            )
        norm_cfg = norm_cfg or dict(type='LN', eps=1e-6)
        if init_cfg is None:
            init_cfg = [
                dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
                dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
            ]
        grids = [min(sides) // patch_size // 2**i for i in range(stages)]
        super().__init__(
            arch=arch,
            img_size=sides,
            patch_size=patch_size,
            window_size=window_size,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            # Padding is what makes any input size work. Shrunken stages are told
            # not to shift, which this option alone would make them do.
            pad_small_map=True,
            norm_cfg=norm_cfg,
            patch_cfg=dict(norm_cfg=norm_cfg),
            stage_cfgs=[
                dict(
                    block_cfgs=dict(
                        norm_cfg=norm_cfg, attn_cfgs=_attention(grid, window_size)
                    ),
                    downsample_cfg=dict(norm_cfg=norm_cfg),
                )
                for grid in grids
            ],
            init_cfg=init_cfg,
            **kwargs,
        )
        self.patch_size = patch_size
        for stage in self.stages:
            stage.blocks = ModuleList(FusedSwinBlock(block) for block in stage.blocks)
            if stage.downsample is not None:
                stage.downsample = FusedPatchMerging(stage.downsample)
        # Freezes stages; a runner may wrap the model for several processes first.
        self.train()

    def init_weights(self) -> None:
        """Draw the weights, or load those of a ``Pretrained`` in ``init_cfg``."""
        if loads_weights(self.init_cfg):
            # mmpretrain's own draws absolute positions over those of a list.
            BaseModule.init_weights(self)
        else:
            super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run the stages on images (B, 3, H, W).

        Returns:
            The normalised maps (B, C_i, H_i, W_i) of ``out_indices``.

        Raises:
            ValueError: If the images are smaller than a patch.
        """
        check_image('EsViTSwin', x, self.patch_size)
        return super().forward(x)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Load weights; of older checkpoints of mmpretrain's Swin, too."""
        load_old_names(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _prepare_relative_position_bias_table(
        self, state_dict: dict, prefix: str, *_: Any
    ) -> None:
        """Resize bias tables of another window while loading; called by the parent.

        mmpretrain's own needs ``interp2d``, which SciPy 1.14 removed.
        """
        for name, param in self.named_parameters():
            key = prefix + name
            if not name.endswith('bias_table') or key not in state_dict:
                continue
            if len(state_dict[key]) != len(param):
                state_dict[key] = resize_bias_table(state_dict[key], len(param))
                state_dict.pop(key.replace('bias_table', 'index'), None)

    def train(self, mode: bool = True) -> 'EsViTSwin':
        """Switch the mode; mmpretrain's own returns None."""
        super().train(mode)
        return self


def _count_stages(arch: dict) -> int:
    """Number of stages of an ``arch``, which must be complete."""
    keys = ('embed_dims', 'depths', 'num_heads')
    complete = all(arch.get(key) for key in keys)
    if not complete or len(arch['num_heads']) != len(arch['depths']):
        raise ValueError(
            'EsViTSwin: arch needs embed_dims, one number, and depths and num_heads, '
            f'lists of one length, got {arch}.'
        )
    for stage, number in enumerate(arch['num_heads']):
        width = arch['embed_dims'] * 2**stage
        if width % number:
            raise ValueError(
                f'EsViTSwin: stage {stage} has {width} channels, which cannot be '
                f'parted among {number} heads; got {arch}.'
            )
    return len(arch['depths'])


def _check_own(options: dict[str, Any]) -> None:
    """Refuse options of mmpretrain's Swin that the window rule decides here.

    Args:
        options: Those given; ``pad_small_map=True``, which says what is so anyway, is
            taken out.
    """
    if options.get('pad_small_map') is True:
        del options['pad_small_map']
    wrong = {'pad_small_map', 'stage_cfgs', 'patch_cfg'} & set(options)
    if wrong:
        raise ValueError(
            f'EsViTSwin sets {" and ".join(sorted(wrong))} itself, to pad small maps '
            "and keep the windows of img_size: leave it out, or use mmpretrain's "
            'SwinTransformer.'
        )


def _attention(grid: int, window_size: int) -> dict:
    """Options of a stage's attention, given its grid at ``img_size``."""
    return dict(window_size=grid, shift_size=0) if grid <= window_size else {}
