"""How a run goes on: the position in a checkpoint, the schedules, the optimisers."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch.optim import Optimizer

from ..models.frozen_teacher import FrozenTeacher
from .checkpoints import load_checkpoint_file
from .loops import ResumableTrainLoop


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
        epoch: Whole epochs that are done.
        start: Batches of the next epoch that are done, in this run's batches.
        iteration: Iterations that are done, as if all had been this run's.
    """

    epoch: int
    start: int
    iteration: int


def find_position(meta: Mapping[str, Any], iters_per_epoch: int) -> Position:
    """Place a checkpoint in a run that may have other epochs.

    Everything scheduled is a function of epoch + i / (iterations per epoch), as in the
    authors' program; so the part of the epoch that is done is kept.

    Args:
        meta: The checkpoint's.
        iters_per_epoch: Of this run.
    """
    epoch, iteration = int(meta['epoch']), int(meta['iter'])
    run = meta.get('run')
    old = run.get('iterations per epoch') if isinstance(run, dict) else None
    if not isinstance(old, int) or old < 1:
        # Of mmengine's Runner: with epochs as these, or at the end of another one.
        fits = 0 <= iteration - epoch * iters_per_epoch <= iters_per_epoch
        ended = epoch > 0 and iteration > 0 and iteration % epoch == 0
        old = iteration // epoch if ended and not fits else iters_per_epoch
    done = min(max(iteration - epoch * old, 0), old)
    start = round(done / old * iters_per_epoch)
    return Position(epoch, start, epoch * iters_per_epoch + start)


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between the settings of two runs, in one line."""
    return ', '.join(
        f'{name} {old[name]} -> {value}'
        for name, value in new.items()
        if name in old and old[name] != value
    )


def run_settings(runner: Runner) -> dict[str, Any]:
    """What decides the course of a run, to be compared when it is resumed."""
    loader = runner.train_dataloader
    settings: dict[str, Any] = {
        'batch size per process': loader.batch_size,
        'processes': get_world_size(),
        'images': len(loader.dataset),
        'drop_last': loader.drop_last,
        'epochs': runner.max_epochs,
    }
    if isinstance(runner.train_loop, ResumableTrainLoop):
        settings['iterations per epoch'] = len(loader)
    for module in runner.model.modules():
        if isinstance(module, FrozenTeacher):
            # Its weights are not in the checkpoint of the run.
            settings['teacher'] = module.checkpoint
            if hasattr(module, 'backbone_cfg'):
                settings['arch of the teacher'] = str(module.backbone_cfg.get('arch'))
    for name, part in wrapper_parts(runner.optim_wrapper).items():
        group = configured_groups(part.optimizer)[0]
        prefix = f'{name}.' if name else ''
        settings[f'{prefix}optimizer'] = type(part.optimizer).__name__
        for key in ('lr', 'weight_decay'):
            if isinstance(group.get(key), (int, float)):
                settings[f'{prefix}{key}'] = group[key]
    return settings


def wrapper_parts(wrapper: Any) -> dict[str, Any]:
    """The wrappers of single optimisers by name; '' for one that is the only one."""
    if wrapper is None:
        return {}
    return dict(wrapper.items()) if hasattr(wrapper, 'items') else {'': wrapper}


def configured_groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Hyper-parameters of each group as the config has them, before any schedule."""
    groups = []
    for group in optimizer.param_groups:
        values = {key: value for key, value in group.items() if key != 'params'}
        for key in list(values):
            if key.startswith('initial_'):
                values[key.removeprefix('initial_')] = values[key]
        groups.append(values)
    return groups


def with_new_settings(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimiser's saved state with the hyper-parameters of this run's config.

    Args:
        state: What was saved.
        optimizer: This run's, as built.

    Raises:
        ValueError: If the groups of parameters do not fit.
    """
    saved = state['param_groups']
    groups = [dict(group) for group in optimizer.param_groups]
    sizes = [[len(g['params']) for g in side] for side in (saved, groups)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"The checkpoint's optimiser has groups of {sizes[0]} parameters, this "
            f"run's of {sizes[1]}: use the model and optim_wrapper it was trained "
            'with, or load_from instead of --resume to begin with its weights alone.'
        )
    for group, old in zip(groups, saved, strict=True):
        group['params'] = old['params']
        for key, value in old.items():
            # State, such as the steps of Lamb and Adan; not of a schedule that is gone.
            if key not in group and not key.startswith('initial_'):
                group[key] = value
    return {**state, 'param_groups': groups}


def _optimizers(names: Collection[str]) -> str:
    """Optimisers by their names in the config; one alone has none."""
    if '' in names:
        return 'one optimiser'
    return f'the optimisers {", ".join(names)}'


def refuse_other_optimizers(wrapper: Any, run: Mapping[str, Any]) -> None:
    """Refuse an optimiser of another class than the one whose state was saved.

    Args:
        wrapper: This run's optimiser wrapper, as built.
        run: The ``run_settings`` of the checkpoint; older ones do not say it.

    Raises:
        ValueError: If it is of another class.
    """
    for name, part in wrapper_parts(wrapper).items():
        prefix = f'{name}.' if name else ''
        old, new = run.get(f'{prefix}optimizer'), type(part.optimizer).__name__
        if old not in (None, new):
            raise ValueError(
                f'--resume: the checkpoint has the state of {old}, this run has '
                f'optim_wrapper.{prefix}optimizer.type={new}: use {old}, or load_from '
                'instead of --resume to begin with its weights alone.'
            )


def resume_optimizers(wrapper: Any, states: dict[str, Any]) -> None:
    """Load the state of each optimiser; its settings stay those of this config.

    Args:
        wrapper: This run's optimiser wrapper, as built.
        states: What was saved of it.

    Raises:
        ValueError: If the optimisers, or their groups of parameters, do not fit.
    """
    parts = wrapper_parts(wrapper)
    saved = [''] if 'param_groups' in states else list(states)
    if sorted(saved) != sorted(parts):
        raise ValueError(
            f'The checkpoint has the state of {_optimizers(saved)}, this run has '
            f'{_optimizers(parts)}: use the optim_wrapper it was trained with, or '
            'load_from instead of --resume to begin with its weights alone.'
        )
    for name, part in parts.items():
        state = states[name] if name else states
        state = with_new_settings(state, part.optimizer)
        # Scheduled as the groups are, for the log; that of this run is replayed.
        state.pop('base_param_settings', None)
        if not state.get('loss_scaler', True):
            # Of a training without scaling, which one with it refuses
            del state['loss_scaler']
        part.load_state_dict(state)


def replay_schedules(
    schedulers: Sequence[Any], position: Position, iters_per_epoch: int
) -> None:
    """Bring freshly built schedulers to a position.

    mmengine's schedules are recursive: a value follows from the one before. So they
    are stepped from the start, with this run's settings alone, and end bit for bit
    where a run with these settings would be. One that follows a metric cannot be:
    ``scheduler_states.resume_followers`` does it.

    Args:
        schedulers: Of one optimiser, in the order of the config, as built.
        position: Where to.
        iters_per_epoch: Of this run.
    """
    by_iter = [s for s in schedulers if not s.by_epoch]
    by_epoch = [s for s in schedulers if s.by_epoch and not hasattr(s, 'need_val_args')]
    for scheduler in schedulers:
        # mmengine counts steps to warn of a wrong order.
        scheduler.optimizer._global_step = 0
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for epoch in range(position.epoch + 1):
            steps = iters_per_epoch if epoch < position.epoch else position.start
            for _ in range(steps if by_iter else 0):
                for scheduler in by_iter:
                    scheduler.step()
            if epoch < position.epoch:
                for scheduler in by_epoch:
                    scheduler.step()


def check_resumable(path: str, with_optimizer: bool) -> None:
    """Refuse a file that is no checkpoint of a training, before it is loaded.

    Args:
        path: The file.
        with_optimizer: Whether it must have the state of an optimiser.

    Raises:
        ValueError: If it is none, or lacks that state.
    """
    try:
        checkpoint = load_checkpoint_file(path, mmap=True)
    except (ValueError, FileNotFoundError):
        checkpoint = load_checkpoint_file(path)  # of a format without mmap
    meta = checkpoint.get('meta')
    wanted = {'epoch', 'iter'}
    if not isinstance(meta, dict) or not wanted <= set(meta):
        raise ValueError(
            f'--resume: {path} is no checkpoint of a training, as its meta has no '
            'epoch and iter. To begin with its weights, set load_from instead.'
        )
    if not all(isinstance(meta[key], int) and meta[key] >= 0 for key in wanted):
        raise ValueError(
            f'--resume: {path} has epoch {meta["epoch"]!r} and iter {meta["iter"]!r}, '
            'which are no numbers of a training.'
        )
    if with_optimizer and 'optimizer' not in checkpoint:
        raise ValueError(
            f'--resume: {path} has no state of an optimiser, so that training cannot '
            'go on. To begin with its weights, set load_from instead of --resume.'
        )
