"""A learning rate for each classifier of a sweep."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LinearSweepOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Gives each head of a ``LinearSweepClassifier`` its own learning rate.

    It is the optimiser's times the head's ``lr_factor``; schedules scale them alike.

    Args:
        optim_wrapper_cfg: Config of the optimiser wrapper, with an ``lr``.
        paramwise_cfg: Must be None or empty.

    Raises:
        ValueError: If ``paramwise_cfg`` holds anything.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        if paramwise_cfg:
            raise ValueError(
                f'{type(self).__name__} takes no paramwise_cfg, got {paramwise_cfg}.'
            )
        # The parent asks add_params for groups only if there are options.
        super().__init__(optim_wrapper_cfg, dict(flat_decay_mult=1.0))

    def add_params(self, params: list, module: Any, **kwargs: Any) -> None:
        """Append a group for each head.

        Args:
            params: The groups, changed in place.
            module: The classifier.
            **kwargs: Unused; part of mmengine's interface.

        Raises:
            TypeError: If it has no ``lr_factors``.
        """
        if not hasattr(module, 'lr_factors'):
            raise TypeError(
                f'{type(self).__name__} is for a LinearSweepClassifier, but the model '
                f'is a {type(module).__name__}.'
            )
        for factor, head in zip(module.lr_factors, module.heads, strict=True):
            params.append(
                dict(params=list(head.parameters()), lr=factor * self.base_lr)
            )
