"""The region task joins a run that began with views alone."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from .utils import single_optimizer, unwrap_model


@HOOKS.register_module()
class RegionTaskHook(Hook):
    """Lets a view-only run be resumed with the region task (Section 4).

    ``--resume`` with the checkpoint of a view-only run then continues it: student,
    teacher, centres, the optimiser's state of all their parameters, the schedules and
    the iteration are the run's own; only the region necks start anew, the teacher's
    equal to the student's. Any other checkpoint is resumed as ever.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Make room for the new parameters in the optimiser's state.

        Args:
            runner: The runner.
            checkpoint: The checkpoint, changed in place.

        Raises:
            ValueError: If the optimisers' groups of parameters do not fit.
        """
        names = checkpoint.get('state_dict', checkpoint)
        begun = any(name.startswith('region_neck.') for name in names)
        wanted = unwrap_model(runner).with_regions
        if begun or not wanted or 'optimizer' not in checkpoint:
            return
        optimizer = checkpoint['optimizer']
        old_groups = optimizer['param_groups']
        new_groups = single_optimizer(runner, self).param_groups
        if len(old_groups) != len(new_groups):
            raise ValueError(
                f"RegionTaskHook: the checkpoint's optimiser has {len(old_groups)} "
                f'groups of parameters, but this config has {len(new_groups)}. Use '
                'the optim_wrapper of the first phase.'
            )
        state, groups, start = {}, [], 0
        for old, new in zip(old_groups, new_groups, strict=True):
            # The regions' parameters are the last of every group.
            for i, (number, param) in enumerate(
                zip(old['params'], new['params'], strict=False)
            ):
                if number in optimizer['state']:
                    state[start + i] = optimizer['state'][number]
                    _check_shapes(state[start + i], param)
            count = len(new['params'])
            groups.append({**old, 'params': list(range(start, start + count))})
            start += count
        checkpoint['optimizer'] = {**optimizer, 'state': state, 'param_groups': groups}
        runner.logger.info('The region task begins; its necks start anew.')


def _check_shapes(state: dict[str, Any], param: Tensor) -> None:
    for name, value in state.items():
        if isinstance(value, Tensor) and value.dim() and value.shape != param.shape:
            raise ValueError(
                f'RegionTaskHook: {name} of the optimiser has shape '
                f'{tuple(value.shape)}, its parameter {tuple(param.shape)}. Use the '
                'model and the optim_wrapper of the first phase.'
            )
