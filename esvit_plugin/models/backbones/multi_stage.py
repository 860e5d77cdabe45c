"""What this package's backbones in stages share."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import ModuleList
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checks import check_at_least, check_drop_path, check_image, check_stages
from ..last_blocks import BlockLayout, mean_pool, needs_last_norm


class MultiStageBackbone(BaseBackbone):
    """Base of backbones whose stages turn a map into a smaller one.

    A subclass fills ``self.stages``, then calls ``train``, which freezes stages: what
    is trained must be final before a runner wraps the model for several processes.
    Each stage has an ``embed`` layer and a list of ``blocks``, takes a map (B, C, H, W)
    and returns one with channels last.

    Args:
        arch: Name of an entry of ``arch_zoo``, or a dict like one.
        out_indices: Stages whose output is returned, each after its own norm.
        frozen_stages: Last stage that is not trained, -1 for none.
        window_size: Side of a window, to be checked.
        drop_path_rate: Stochastic depth rate of the last block, to be checked.
        patch_size: Side of a patch in pixels: no image may be smaller.
        norm_cfg: Config of the layer norms.
        init_cfg: Initialisation.

    Raises:
        ValueError: If the architecture is unknown or incomplete, a stage does not
            exist, the window or patch is smaller than 1, or the rate is outside [0, 1).
    """

    arch_zoo: dict[str, dict[str, Any]] = {}
    stages: ModuleList

    def __init__(
        self,
        arch: str | dict,
        out_indices: Sequence[int],
        frozen_stages: int,
        window_size: int,
        drop_path_rate: float,
        patch_size: int,
        norm_cfg: dict,
        init_cfg: dict | Sequence[dict] | None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch_settings = self._settings(arch)
        self.depths: list[int] = list(self.arch_settings['depths'])
        self.num_features: list[int] = list(self.arch_settings['embed_dims'])
        self.num_layers = len(self.depths)
        name = type(self).__name__
        check_stages(name, self.num_layers, out_indices, frozen_stages)
        check_drop_path(name, drop_path_rate)
        check_at_least(name, 1, 'the paper uses 7 and 14', window_size=window_size)
        check_at_least(name, 1, 'the paper uses 4', patch_size=patch_size)
        self.patch_size = patch_size
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        for i in self.out_indices:
            self.add_module(
                f'norm{i}', build_norm_layer(norm_cfg, self.num_features[i])
            )

    def _settings(self, arch: str | dict) -> dict:
        name = type(self).__name__
        if isinstance(arch, str):
            if arch.lower() not in self.arch_zoo:
                raise ValueError(
                    f'{name} has no arch {arch!r}; choose one of '
                    f'{sorted(self.arch_zoo)} or give a dict with embed_dims, depths '
                    'and num_heads, one number for each stage.'
                )
            return self.arch_zoo[arch.lower()]
        keys = ('embed_dims', 'depths', 'num_heads')
        if (
            not all(arch.get(key) for key in keys)
            or len({len(arch[k]) for k in keys}) > 1
        ):
            raise ValueError(
                f'{name}: arch needs embed_dims, depths and num_heads, lists of one '
                f'length, got {arch}.'
            )
        for width, heads in zip(arch['embed_dims'], arch['num_heads'], strict=True):
            if width % heads:
                raise ValueError(
                    f'{name}: a stage of {width} channels cannot have {heads} heads.'
                )
        return arch

    def forward(
        self, x: Tensor, stage_args: Sequence[Any] | None = None
    ) -> tuple[Tensor, ...]:
        """Run the stages on images (B, 3, H, W).

        Args:
            x: The images.
            stage_args: What each stage takes besides its map. Defaults to None,
                nothing.

        Returns:
            The normalised maps (B, C_i, H_i, W_i) of ``out_indices``.

        Raises:
            ValueError: If the images are smaller than a patch.
        """
        check_image(type(self).__name__, x, self.patch_size)
        outs = []
        for i, stage in enumerate(self.stages):
            out = stage(x) if stage_args is None else stage(x, stage_args[i])
            if i in self.out_indices:
                norm = getattr(self, f'norm{i}')
                outs.append(norm(out).permute(0, 3, 1, 2).contiguous())
            x = out.permute(0, 3, 1, 2)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'MultiStageBackbone':
        """Switch the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        for i in range(self.frozen_stages + 1):
            parts: list[nn.Module] = [self.stages[i]]
            if i in self.out_indices:
                parts.append(getattr(self, f'norm{i}'))
            for part in parts:
                part.eval()
                part.requires_grad_(False)
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rate decay.

        Args:
            param_name: Name of the parameter.
            prefix: Prefix of the backbone's parameters. Defaults to ''.

        Returns:
            The depth, 0 for the first embedding, and the number of depths.
        """
        num_depths = sum(self.depths) + 2
        name = param_name.removeprefix(prefix)
        if not param_name.startswith(prefix) or not name.startswith('stages.'):
            return num_depths - 1, num_depths
        _, stage, part, *rest = name.split('.')
        depth = sum(self.depths[: int(stage)])
        if part == 'blocks':
            depth += int(rest[0]) + 1
        return depth, num_depths

    def block_layout(self) -> BlockLayout:
        """Where ``LastBlocks`` finds the features of linear probes.

        Raises:
            ValueError: If the last stage is not among ``out_indices`` and so has no
                norm.
        """
        last = self.num_layers - 1
        if last not in self.out_indices:
            raise ValueError(needs_last_norm(self, last))
        blocks = [block for stage in self.stages for block in stage.blocks]
        return BlockLayout(
            blocks, getattr(self, f'norm{last}'), self.depths[-1], self._pool
        )

    def _pool(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Features (B, C) of a block's output (B, ..., C)."""
        return mean_pool(block, tokens)


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Stochastic depth rate of each block by stage, growing from 0 to ``rate``."""
    rates = torch.linspace(0, rate, sum(depths)).split(list(depths))
    return [part.tolist() for part in rates]


def run_block(
    block: Callable[..., Tensor], with_cp: bool, x: Tensor, *args: Any
) -> Tensor:
    """Call a block, recomputing its activations on the way back if ``with_cp``."""
    if with_cp and x.requires_grad:
        return checkpoint(block, x, *args, use_reentrant=False)
    return block(x, *args)
