"""The projection network between a backbone and the prototypes."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...torch_calls import weight_norm
from ..checks import check_prototypes
from ..utils import upcast


class Prototypes(nn.Module):
    """Weight-normalised linear layer without bias, ``x @ (g * v / |v|).T``.

    Args:
        in_channels: Width of the bottleneck.
        out_channels: Number of prototypes K.
        trainable_gain: Whether the gains g are trained.
    """

    def __init__(
        self, in_channels: int, out_channels: int, trainable_gain: bool
    ) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out_channels, 1), trainable_gain)
        self.weight_v = nn.Parameter(torch.empty(out_channels, in_channels))

    def weight(self) -> Tensor:
        """The normalised weight, shape (K, in_channels)."""
        return weight_norm(self.weight_v, self.weight_g, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of bottleneck features (N, in_channels)."""
        return F.linear(x, self.weight())


@MODELS.register_module()
class DINOProjection(BaseModule):
    """Projection head of DINO and EsViT: features to prototype logits.

    A multi-layer perceptron with GELU and no batch norm, L2 normalisation, then a
    weight-normalised linear layer onto K prototypes (Section 3.2; DINO,
    arXiv 2104.14294). EsViT uses one for views and another for regions.

    Args:
        in_channels: Width of the backbone's last feature map.
        out_channels: Number of prototypes K. Defaults to 65536.
        hidden_channels: Width of the hidden layers. Defaults to 2048.
        bottleneck_channels: Width of the normalised features. Defaults to 256.
        num_layers: Linear layers before the prototypes. Defaults to 3.
        norm_last_layer: Keep the prototypes' norms (the gain of the weight
            normalisation) at 1. The paper's runs train them, DINO fixes them for
            stability. Defaults to False.
        init_cfg: Extra initialisation, e.g. from a checkpoint. Defaults to None,
            which keeps the released one: truncated normal of std 0.02, biases 0;
            prototypes uniform within 1 / sqrt(bottleneck_channels), gains 1.

    Raises:
        ValueError: If a width or the number of layers is not positive, or there are
            fewer than two prototypes.

    Example:
        >>> import torch
        >>> from esvit_plugin.models import DINOProjection
        >>> neck = DINOProjection(in_channels=768, out_channels=4096)
        >>> neck(torch.rand(8, 768)).shape
        torch.Size([8, 4096])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 65536,
        hidden_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_layers: int = 3,
        norm_last_layer: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        sizes = dict(
            in_channels=in_channels,
            out_channels=out_channels,
            hidden_channels=hidden_channels,
            bottleneck_channels=bottleneck_channels,
            num_layers=num_layers,
        )
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'DINOProjection: {name} must be >= 1, got {value}.')
        check_prototypes('DINOProjection', out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        inner = [hidden_channels] * (num_layers - 1)
        widths = [in_channels, *inner, bottleneck_channels]
        layers: list[nn.Module] = []
        for index in range(num_layers):
            layers += [nn.Linear(widths[index], widths[index + 1]), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.last_layer = Prototypes(
            bottleneck_channels, out_channels, trainable_gain=not norm_last_layer
        )
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        # torch's default of a linear layer. The length of a direction does not
        # change the logits, but under Adam it decides how fast the direction turns.
        bound = self.last_layer.weight_v.shape[1] ** -0.5
        nn.init.uniform_(self.last_layer.weight_v, -bound, bound)
        nn.init.ones_(self.last_layer.weight_g)

    def project(self, x: Tensor) -> Tensor:
        """Map features (N, in_channels) to unit vectors (N, bottleneck_channels).

        The result is never of half precision, also under autocast: squares of
        float16 numbers overflow or vanish easily.
        """
        return F.normalize(upcast(self.mlp(x)), dim=-1)

    def prototypes(self) -> Tensor:
        """The prototypes, shape (K, bottleneck_channels)."""
        return self.last_layer.weight()

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, in_channels) to prototype logits (N, K)."""
        return self.last_layer(self.project(x))
