"""Parameter groups of the paper's recipe."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MatrixDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Weight decay on matrices only, in two parameter groups.

    Biases and one-dimensional parameters (norms) have none (Section 4). mmengine's
    constructor with ``norm_decay_mult``, ``bias_decay_mult`` and
    ``flat_decay_mult`` of 0 does the same with one group per parameter, which keeps
    the optimiser from updating many parameters at once, and it warns of every
    parameter of the teacher.

    Args:
        optim_wrapper_cfg: Config of the optimiser wrapper.
        paramwise_cfg: Must be None or empty.

    Raises:
        ValueError: If ``paramwise_cfg`` holds anything.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        if paramwise_cfg:
            raise ValueError(
                f'{type(self).__name__} takes no paramwise_cfg, got {paramwise_cfg}. '
                "Use constructor='DefaultOptimWrapperConstructor' with norm_decay_mult"
                '=0, bias_decay_mult=0 and flat_decay_mult=0 beside your options.'
            )
        # The parent asks add_params for groups only if there are options.
        super().__init__(optim_wrapper_cfg, dict(flat_decay_mult=0.0))

    def add_params(self, params: list, module: nn.Module, **kwargs: Any) -> None:
        """Append the group with weight decay, then the one without.

        Args:
            params: The groups, changed in place.
            module: The model; parameters without gradient are left out.
            **kwargs: Unused; part of mmengine's interface.
        """
        decayed: dict[str, nn.Parameter] = {}
        plain: dict[str, nn.Parameter] = {}
        for name, param in module.named_parameters():
            if param.requires_grad:
                is_matrix = param.ndim > 1 and not name.endswith('.bias')
                (decayed if is_matrix else plain)[name] = param
        # The names go into checkpoints: a later phase may train other parameters.
        for group, options in ((decayed, {}), (plain, dict(weight_decay=0.0))):
            names = [name.removeprefix('module.') for name in group]
            params.append(
                dict(params=list(group.values()), param_names=names, **options)
            )
