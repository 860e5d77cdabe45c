"""What changes over a training, without training."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmpretrain.models import MoCoV3
from mmpretrain.registry import HOOKS, MODELS, OPTIMIZERS, PARAM_SCHEDULERS
from torch import nn

from ..models.selfsup.mocov3 import cosine_momentum
from .curves import draw_curves, plain_name
from .figures import figure_text
from .logs import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points of a curve, about.
_POINTS = 2000
# Of the optimiser, always drawn; others where they change.
_ALWAYS = ('lr', 'weight_decay')


def read_schedules(cfg: Mapping[str, Any], epoch_length: int) -> dict[str, Curve]:
    """Run the schedulers and the hooks of a config on an optimiser without a model.

    Schedulers act on one parameter with the learning rate and the weight decay of the
    optimiser: factors for layers (``paramwise_cfg``) are left out.

    Args:
        cfg: The config of a training with ``max_epochs``.
        epoch_length: Iterations of an epoch.

    Returns:
        For each quantity its points (epoch, value): 'lr', 'weight_decay', what else of
        the optimiser changes, and what hooks with a method ``schedule`` set, such as
        'teacher_momentum', which is also MoCo v3's momentum (one less mmpretrain's).

    Raises:
        ValueError: If the config has no epochs or not one optimiser, or a schedule
            begins after the training.
    """
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    optim = cfg.get('optim_wrapper') or {}
    if not isinstance(epochs, int) or 'optimizer' not in optim:
        raise ValueError(
            'Schedules need a config of a training: train_cfg=dict(max_epochs=...) and '
            'optim_wrapper=dict(optimizer=dict(...)).'
        )
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    optimizer = _optimizer(optim['optimizer'])
    schedulers = _schedulers(cfg, optimizer, epochs, epoch_length)
    max_iters = epochs * epoch_length
    hooks = _hooks(cfg, max_iters, optim.get('accumulative_counts', 1))
    group = optimizer.param_groups[0]
    kinds = [k for k, v in group.items() if isinstance(v, float) and k != 'initial_lr']
    curves: dict[str, Curve] = {}
    stride = max(1, max_iters // _POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of steps without the optimiser's
        for iteration in range(max_iters):
            if iteration % stride == 0 or iteration == max_iters - 1:
                values = {kind: group[kind] for kind in kinds}
                values |= _momentum(cfg.get('model') or {}, iteration / max_iters)
                for hook in hooks:
                    values.update(hook.schedule(iteration, epoch_length, max_iters))
                for key, value in values.items():
                    point = (iteration / epoch_length, float(value))
                    curves.setdefault(key, []).append(point)
            ends = (iteration + 1) % epoch_length == 0
            for scheduler in schedulers:
                if ends or not scheduler.by_epoch:
                    scheduler.step()
    return {
        key: points
        for key, points in curves.items()
        if key in _ALWAYS or key not in kinds or len({value for _, value in points}) > 1
    }


def _optimizer(cfg: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimiser of a config, on one parameter."""
    # Fused kernels do not exist for all devices.
    options = {k: v for k, v in cfg.items() if k not in ('fused', 'foreach')}
    param = nn.Parameter(torch.zeros(1))
    return OPTIMIZERS.build(options, default_args=dict(params=[param]))


def _schedulers(
    cfg: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    epoch_length: int,
) -> list[Any]:
    """The schedulers of a config, as its Runner builds them."""
    configs = cfg.get('param_scheduler') or []
    schedulers = []
    for scheduler in configs if isinstance(configs, Sequence) else [configs]:
        scheduler = copy.deepcopy(dict(scheduler))
        by_epoch = scheduler.get('by_epoch', True)
        scheduler.setdefault('end', epochs if by_epoch else epochs * epoch_length)
        defaults = dict(optimizer=OptimWrapper(optimizer), epoch_length=epoch_length)
        built = PARAM_SCHEDULERS.build(scheduler, default_args=defaults)
        if not hasattr(built, 'need_val_args'):  # which follows a metric
            schedulers.append(built)
    return schedulers


def _momentum(model: Mapping[str, Any], share: float) -> dict[str, float]:
    """The momentum of a MoCo v3 after a share of the training; {} of other models."""
    kind = model.get('type')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, MoCoV3)):
        return {}
    ends = model.get('base_momentum', 0.01), model.get('end_momentum', 0.0)
    return dict(teacher_momentum=1 - cosine_momentum(*ends, share))


def _hooks(cfg: Mapping[str, Any], max_iters: int, stride: int) -> list[Any]:
    """The hooks of a config that have a schedule, fitted to the training."""
    hooks = []
    for hook in cfg.get('custom_hooks') or []:
        kind = hook['type'] if isinstance(hook, Mapping) else type(hook)
        kind = HOOKS.get(kind) if isinstance(kind, str) else kind
        if hasattr(kind, 'schedule'):
            built = HOOKS.build(dict(hook)) if isinstance(hook, Mapping) else hook
            if hasattr(built, 'fit_momentum'):
                built.fit_momentum(max_iters, stride)
            hooks.append(built)
    return hooks


def draw_schedules(schedules: Mapping[str, Curve], title: str = '') -> 'Figure':
    """Draw schedules over epochs, a panel for each.

    Args:
        schedules: As of ``read_schedules``.
        title: What stands below, such as the name of the config. Defaults to ''.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    panels = {plain_name(key): {title: points} for key, points in schedules.items()}
    figure = draw_curves(panels, 'epoch')
    figure.suptitle(figure_text(title))
    return figure
