"""MoCo v3 as of its program, on mmpretrain's parts."""

import copy
import math
from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub
from mmengine.model import BaseAveragedModel
from mmpretrain.models.selfsup import MoCoV3
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...torch_calls import foreach_add_, foreach_mul_

_MOMENTUM = 'momentum_encoder.module.'
# Of momentum_encoder.module, a Sequential.
_PARTS = {'0.': 'backbone.', '1.': 'neck.'}


class MomentumEncoder(BaseAveragedModel):
    r"""The encoder of the keys, which follows the one that is trained.

    key <- (1 - m) key + m query over parameters, with
    :math:`m = m_1 + (m_0 - m_1) (1 + \cos(\pi\, it / max\_iters)) / 2`, where m is
    mmpretrain's ``momentum``, one less the paper's. The iteration is the running
    training's, so a resumed one continues; outside of a Runner m stays at m_0.
    mmpretrain's ``CosineEMA`` differs: it copies the other's statistics of batch norms
    over its own, has no m of 1 (no momentum), and waits for the device once per
    parameter and iteration.

    Args:
        model: The encoder to follow; it is copied.
        momentum: m_0, in (0, 1]. Defaults to 0.01.
        end_momentum: m_1, in [0, 1]. Defaults to 0.0.

    Raises:
        ValueError: If a momentum is out of range.
    """

    def __init__(
        self, model: nn.Module, momentum: float = 0.01, end_momentum: float = 0.0
    ) -> None:
        if not (0 < momentum <= 1 and 0 <= end_momentum <= 1):
            raise ValueError(
                "MoCoV3: base_momentum must lie in (0, 1] (one less the paper's: 0.01 "
                'for m = 0.99) and end_momentum in [0, 1], got '
                f'base_momentum={momentum} and end_momentum={end_momentum}.'
            )
        super().__init__(model)
        self.momentum = momentum
        self.end_momentum = end_momentum

    def current_momentum(self) -> float:
        """The m of this iteration."""
        hub = MessageHub.get_current_instance()
        max_iters = hub.get_info('max_iters')
        if not max_iters:
            return self.momentum
        share = hub.get_info('iter', 0) / max_iters
        return cosine_momentum(self.momentum, self.end_momentum, share)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the parameters; buffers, as statistics of batch norms, are its own.

        The log shows the paper's momentum as ``teacher_momentum``.

        Args:
            model: The encoder to follow.
        """
        momentum = self.current_momentum()
        hub = MessageHub.get_current_instance()
        hub.update_scalar('train/teacher_momentum', 1 - momentum)
        keys: list[Tensor] = list(self.module.parameters())
        queries: list[Tensor] = list(model.parameters())
        foreach_mul_(keys, 1 - momentum)
        foreach_add_(keys, queries, alpha=momentum)
        self.steps += 1

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> Any:
        """Unused: all parameters move at once."""
        raise NotImplementedError


def cosine_momentum(start: float, end: float, share: float) -> float:
    """The momentum, one less the paper's, after a share of the training in [0, 1]."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@MODELS.register_module()
class ReleasedMoCoV3(MoCoV3):
    """mmpretrain's ``MoCoV3`` with the momentum encoder of the program.

    (arXiv 2104.02057.) Each of two views goes alone through backbone, neck and
    predictor, so batch norms see one view at a time. The momentum encoder moves in
    every iteration, before it computes the keys; its batch norms have statistics of
    their own. See :class:`MomentumEncoder`. State dicts have mmpretrain's names;
    weights without a momentum encoder load into both.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        head: Config of a ``MoCoV3Head``, with the predictor.
        base_momentum: One less the paper's m at the start, in (0, 1]; 1 for none.
            Defaults to 0.01.
        end_momentum: One less the paper's m at the end, by a cosine. Defaults to 0.0.
        **kwargs: As for ``MoCoV3``.

    Raises:
        ValueError: If a momentum is out of range; in training, if there are not two
            views, or if batch norm would have a single image.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        base_momentum: float = 0.01,
        end_momentum: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, neck, head, **kwargs)
        self.momentum_encoder = MomentumEncoder(
            self._encoder(), base_momentum, end_momentum
        )
        self.register_load_state_dict_pre_hook(_complete)

    def _encoder(self) -> nn.Sequential:
        return nn.Sequential(self.backbone, self.neck)

    def init_weights(self) -> None:
        """Draw or load the initial weights; the momentum encoder has the same."""
        super().init_weights()
        weights = copy.deepcopy(self._encoder().state_dict())
        self.momentum_encoder.module.load_state_dict(weights)

    def loss(
        self, inputs: list[Tensor], data_samples: Sequence[DataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """The loss of a batch, both ways round; moves the momentum encoder.

        Args:
            inputs: Two views (B, 3, H, W).
            data_samples: Unused.
            **kwargs: Unused.

        Raises:
            ValueError: If there are not two views, or they are of a single image.
        """
        if not isinstance(inputs, list) or len(inputs) != 2:
            number = len(inputs) if isinstance(inputs, list) else 'a tensor'
            raise ValueError(
                f'{type(self).__name__} takes two views of each image, got {number}. '
                'MultiCrop with two views of one image each, and a '
                'ViewListDataPreprocessor, give them.'
            )
        if len(inputs[0]) == 1:
            self._check_single()
        return super().loss(inputs, data_samples, **kwargs)

    def _check_single(self) -> None:
        """Refuse one image, of which batch norm and the loss make nothing."""
        norms = [m for m in self.modules() if isinstance(m, _BatchNorm)]
        joined = all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
        if get_world_size() == 1 or (norms and not joined):
            raise ValueError(
                f'{type(self).__name__}: a batch of 1 image per process has no other '
                'image to tell it from, and nothing for batch norm to average. Set '
                'train_dataloader.batch_size to 2 or more (and drop_last=True); one '
                'image per GPU needs several GPUs and sync_bn.'
            )


def _complete(
    model: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, *_: Any
) -> None:
    """Let weights without a momentum encoder begin it, too."""
    if any(name.startswith(f'{prefix}{_MOMENTUM}') for name in state_dict):
        return
    for number, part in _PARTS.items():
        for name, value in list(state_dict.items()):
            if name.startswith(f'{prefix}{part}'):
                short = name[len(prefix) + len(part) :]
                state_dict[f'{prefix}{_MOMENTUM}{number}{short}'] = value
