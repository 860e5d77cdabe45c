"""Teachers that are only read: never trained, averaged or saved."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

TIMM = 'timm::'


class FrozenTeacher(BaseModule):
    """A network whose weights stay where they are from.

    They are no parameters of the model that has it, so that no optimiser, average,
    checkpoint or process group sees them; a resumed training reads them again. They are
    read when the model's weights are drawn or loaded, or else at first use.

    Args:
        checkpoint: Path or URL of the weights, or ``timm::NAME`` for those that timm
            downloads.
    """

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        # In a tuple, where torch does not look for parts of the model.
        self._networks: tuple[Any, ...] = ()

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with any weights."""

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the file in the names of the network, without all others."""
        return weights

    def check(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Refuse a file that fits by its shapes alone; nothing is refused here.

        Args:
            network: The network of ``build``.
            weights: All weights of the file, by its names.
        """

    def init_weights(self) -> None:
        """Read the weights, so that a wrong file shows before the training."""
        _ = self.network

    @property
    def network(self) -> Any:
        """The network in evaluation mode, without gradients.

        Raises:
            ValueError: If the file has no such network, or of another method.
            FileNotFoundError: If there is no file.
        """
        if not self._networks:
            network = self.build()
            weights = self._read()
            self.check(network, weights)
            _load(network, self.rename(weights), self.checkpoint)
            network.requires_grad_(False)
            network.eval()
            self._networks = (network,)
        return self._networks[0]

    def _read(self) -> dict[str, Tensor]:
        try:
            return read_weights(self.checkpoint)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{error} It is to be the teacher, the checkpoint of a '
                f'{type(self).__name__} in the config: train or download it first, or '
                'name another there.'
            ) from error

    def network_on(self, device: torch.device) -> Any:
        """The network on the device of its images."""
        if next(self.network.parameters()).device != device:
            self.network.to(device)
        return self.network


def read_weights(checkpoint: str) -> dict[str, Tensor]:
    """Weights by name of a file, a URL or, after ``timm::``, a model of timm.

    Raises:
        ValueError: If there are none.
        FileNotFoundError: If there is no such file.
        OSError: If they cannot be downloaded.
    """
    if not checkpoint.startswith(TIMM):
        from ..apis import read_weights as read  # which imports the models

        return {n: v for n, v in read(checkpoint).items() if isinstance(v, Tensor)}
    import timm

    name = checkpoint.removeprefix(TIMM)
    if not timm.is_model(name.split('.')[0]):
        raise ValueError(f'timm has no model {name}; timm.list_models() names all.')
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise OSError(
            f'timm has no weights of {name} here and cannot download them: {error} '
            'Give the path of a file instead.'
        ) from error


def _load(network: nn.Module, weights: Mapping[str, Tensor], checkpoint: str) -> None:
    """Load weights that fit exactly."""
    own = network.state_dict()
    parts = {
        'lacks': [name for name in own if name not in weights],
        'has besides': [name for name in weights if name not in own],
        'has another shape of': [
            f'{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}'
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    reasons = [
        f'{what} {", ".join(names[:3])}{", ..." if len(names) > 3 else ""}'
        for what, names in parts.items()
        if names
    ]
    if reasons:
        raise ValueError(
            f'The teacher {checkpoint} is not the expected {_describe(network)}: it '
            f'{"; it ".join(reasons)}.'
        )
    network.load_state_dict(dict(weights))


def _describe(network: nn.Module) -> str:
    size = sum(value.numel() for value in network.state_dict().values()) / 1e6
    settings = getattr(network, 'arch_settings', None)
    about = f' of {dict(settings)}' if settings else ''
    return f'{type(network).__name__}{about} ({size:.1f} M values)'
