"""mmengine's Runner, made to survive long trainings."""

import os
import time
from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_rank, master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from ..datasets.loaders import build_loader
from ..type_names import type_name
from .batch_size import scale_lr
from .checkpoints import atomic_file, weights_only
from .console import show_short_messages
from .devices import copy_without_waiting, set_matmul_precision, share_gradients
from .launch import job_names, restarted_jobs
from .loops import ResumableTrainLoop
from .newest import agree, check_shared, newest_checkpoint, refuse_to_repeat
from .optimizers.per_param_clip import twin_of_amp
from .pretrained_init import name_pretrained, refuse_misfits
from .recomputing import recompute_without_reentry
from .resume import (
    Position,
    check_resumable,
    describe_changes,
    find_position,
    refuse_other_optimizers,
    replay_schedules,
    resume_optimizers,
    run_settings,
)
from .scheduler_states import plain_states, resume_followers

# Default hooks that mmengine has without being told; it drops these alone by None.
_MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


@RUNNERS.register_module()
class EsViTRunner(Runner):
    """mmengine's ``Runner`` that loses no training and runs no code of a checkpoint.

    Take it with ``runner_type='EsViTRunner'`` in a config, as the configs of this
    package do; mmpretrain's tools take it then, too. What differs from ``Runner``:

    - a checkpoint appears only when it is whole, and older ones are deleted afterwards
      (``AtomicCheckpointHook``, also in place of ``CheckpointHook``);
    - ``resume`` without ``load_from`` takes the newest whole checkpoint of the work
      folder, and goes on inside an epoch (``ResumableTrainLoop``);
    - learning rates and everything else that is scheduled follow from this config and
      the position (epoch + i / iterations per epoch) alone, whatever batch size,
      processes, data and epochs the checkpoint was trained with;
    - parts of a model that freeze themselves in ``train()`` do so before it is
      distributed;
    - loader workers that give no batch for ``timeout`` seconds (1800 by default) end
      the run.
    """

    _resume: bool | str
    _load_from: str | None

    @classmethod
    def from_cfg(cls, cfg: Any) -> Runner:
        """Build the runner of a config, after checking its names and values."""
        from .class_count import fill_num_classes, hand_on
        from .config_arguments import runner_names
        from .config_checks import check_channels, check_config
        from .configs import drop_late_schedules, expand_home, spread_data_root
        from .data_folders import check_data_given
        from .variables import spread_bit_depth

        check_config(cfg)
        check_channels(cfg)
        if isinstance(cfg, Config):
            # mmpretrain's programs have not done it.
            spread_data_root(cfg)
            spread_bit_depth(cfg, {})
            check_data_given(cfg, [cfg.get(name) for name in runner_names()])
        expand_home(cfg)
        drop_late_schedules(cfg)
        built: dict[str, Any] = {}
        fill_num_classes(cfg, built)
        runner = super().from_cfg(cfg)
        hand_on(runner, built)
        return runner

    def set_randomness(
        self,
        seed: int | None,
        diff_rank_seed: bool = False,
        deterministic: bool = False,
    ) -> None:
        """Seed the random generators, as in mmengine.

        But ``diff_rank_seed`` leaves samplers and views the run's seed: mmengine's take
        a random one then, which a resumed run does not know.
        """
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if diff_rank_seed:
            self._seed -= get_rank()

    def register_default_hooks(
        self, hooks: dict[str, Hook | dict | None] | None = None
    ) -> None:
        """Register the default hooks; None leaves out any, not only mmengine's own."""
        kept = {
            name: hook
            for name, hook in (hooks or {}).items()
            if hook is not None or name in _MMENGINE_HOOKS
        }
        super().register_default_hooks(kept)

    def register_hook(self, hook: Hook | dict, priority: Any = None) -> None:
        """Register a hook; this package's in place of mmengine's ``CheckpointHook``."""
        kind = type_name(hook) if isinstance(hook, dict) else type(hook).__name__
        if isinstance(hook, dict) and kind == 'CheckpointHook':
            hook = {**hook, 'type': 'AtomicCheckpointHook'}
        if kind == 'RandomStateHook' and kind in map(_class_name, self.hooks):
            return  # among the default hooks already
        super().register_hook(hook, priority)

    def train(self) -> nn.Module:
        """Train; afterwards, or after an error, let go of signals.

        Raises:
            FileNotFoundError: If a data folder of the config is missing or empty, or a
                checkpoint that its model begins with.
        """
        from .checkpoint_paths import check_checkpoints
        from .data_folders import check_training_data

        check_checkpoints(self.cfg)
        # mmpretrain's tools have not looked.
        check_training_data(self.cfg)
        try:
            return super().train()
        finally:
            for hook in self.hooks:
                close: Callable[[], None] = getattr(hook, 'close', lambda: None)
                close()

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger; what is longer than a few lines is in its file alone."""
        logger = super().build_logger(*args, **kwargs)
        show_short_messages(logger)
        path = os.path.relpath(logger.log_file)
        logger.info(f'Environment, config and hooks of this run: {path}')
        return logger

    def dump_config(self) -> None:
        """Write the whole config into the work folder, but never over its source."""
        source = self.cfg.filename
        name = os.path.join(self.work_dir, os.path.basename(source or ''))
        if source and os.path.isfile(name) and os.path.samefile(source, name):
            self.logger.warning(
                f'The config {source} lies in the work folder: the whole config is '
                'only in vis_data/config.py of this run.'
            )
            return
        super().dump_config()

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model; whatever weights it fetches run no code."""
        with weights_only():
            return super().build_model(name_pretrained(model))

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment, with ``matmul_precision`` besides mmengine's."""
        set_matmul_precision(env_cfg)
        super().setup_env(env_cfg)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build the optimiser; mixed precision also where there is no GPU."""
        is_config = isinstance(optim_wrapper, dict)
        if is_config and type_name(optim_wrapper) == 'AmpOptimWrapper':
            kind = twin_of_amp(self.cfg.filename)
            optim_wrapper = {**optim_wrapper, 'type': f'mmpretrain.{kind}'}
        return super().build_optim_wrapper(optim_wrapper)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        """Scale learning rates, counting accumulated gradients; see ``batch_size``."""
        scale_lr(self, optim_wrapper, auto_scale_lr)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Put the model on its device, and distribute it.

        Backbones of mmpretrain freeze their first stages in ``train()``. Distributed
        training must not wait for the gradients of those. Batches of pinned memory are
        copied while the device works.
        """
        model.train()
        copy_without_waiting(model)
        recompute_without_reentry(model)
        if self.distributed and not is_model_wrapper(model):
            model_wrapper_cfg = share_gradients(
                model_wrapper_cfg, self.cfg.get('find_unused_parameters', False)
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def build_evaluator(self, evaluator: Evaluator | dict | list) -> Evaluator:
        """Build the evaluator; processes send each other their results.

        mmengine's default is files below the current folder, which machines need not
        share.
        """
        built = super().build_evaluator(evaluator)
        for metric in built.metrics if self.distributed else ():
            if metric.collect_device == 'cpu' and metric.collect_dir is None:
                metric.collect_device = 'gpu'  # by the backend, gloo as well
        return built

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop, by default one that can begin inside an epoch."""
        if isinstance(loop, dict) and 'type' not in loop and loop.get('by_epoch'):
            loop = {**loop, 'type': 'ResumableTrainLoop'}
            del loop['by_epoch']
        elif isinstance(loop, dict) and type_name(loop) == 'EpochBasedTrainLoop':
            loop = {**loop, 'type': 'ResumableTrainLoop'}
        return super().build_train_loop(loop)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict,
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a loader as ``datasets.loaders.build_loader`` does.

        Args:
            dataloader: A loader or its config.
            seed: As in mmengine.
            diff_rank_seed: Changes nothing, as ``seed`` is that of the run.
        """
        return build_loader(dataloader, seed)

    @master_only
    def save_checkpoint(
        self, out_dir: str, filename: str, *args: Any, **kwargs: Any
    ) -> None:
        """Save a checkpoint that appears under its name when it is whole.

        Args:
            out_dir: The folder.
            filename: Its name in there.
            *args: As in mmengine.
            **kwargs: As in mmengine.

        Raises:
            OSError: If it cannot be written; older ones are as they were.
        """
        save_whole(self, out_dir, filename, *args, **kwargs)

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> Any:
        """Load weights, of which a file must have some.

        Args:
            filename: The checkpoint.
            *args: As in mmengine.
            **kwargs: As in mmengine.

        Raises:
            ValueError: If it has none of the model's weights, or is refused by it.
        """
        with refuse_misfits(self.model, filename):
            return super().load_checkpoint(filename, *args, **kwargs)

    def load_or_resume(self) -> None:
        """Load a checkpoint, or find the one to go on from."""
        if not self._has_loaded and self._resume:
            self._load_from = self._find_checkpoint()
        super().load_or_resume()

    def _find_checkpoint(self) -> str | None:
        """The checkpoint to go on from; if there is none, what to begin with."""
        folders, given = _checkpoint_folders(self), self._load_from
        if given is None or self._resume == 'auto':
            newest = agree(newest_checkpoint, *folders)
            check_shared(newest)
            if newest is None:
                begin = f' with the weights of {given}' if given else ''
                self.logger.info(
                    f'--resume: {" and ".join(folders)} has no checkpoint yet; the run '
                    f'begins{begin}.'
                )
                self._resume = False
            return newest or given
        jobs = restarted_jobs()
        if jobs is None:
            agree(refuse_to_repeat, given, *folders)
            return given
        # Its own checkpoints are further than the one that it began with.
        newest = agree(newest_checkpoint, *folders, jobs=jobs) if jobs else None
        check_shared(newest)
        if newest is not None:
            self.logger.info(f'Started again, so {newest} counts, not {given}.')
        elif not jobs:
            self.logger.warning(
                f'Started again, with --resume {given}: its launcher names no job '
                '(ESVIT_JOB), so that checkpoints of this one are not known from older '
                'ones. Start with tools/dist_train.sh, or with --resume alone.'
            )
        return newest or given

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'default',
    ) -> None:
        """Go on from a checkpoint, under the settings of this config.

        Args:
            filename: The checkpoint.
            resume_optimizer: Whether to take the optimiser's state. Defaults to True.
            resume_param_scheduler: Whether to bring the schedules to the position.
                Defaults to True.
            map_location: As for ``torch.load``; by default the CPU. What belongs on
                another device is copied there.

        Raises:
            ValueError: If the file is no checkpoint of a training, or its optimiser
                does not fit.
        """
        # Adam's numbers of steps would stay on a GPU, which is waited for then.
        device = 'cpu' if map_location == 'default' else map_location
        if os.path.isfile(os.path.expanduser(filename)):
            check_resumable(filename, resume_optimizer)
        checkpoint = self.load_checkpoint(filename, map_location=device)
        meta = checkpoint['meta']
        loop: Any = self.train_loop
        if isinstance(loop, ResumableTrainLoop):
            length = len(loop.dataloader)
            position = find_position(meta, length)
            loop._epoch, loop._iter = position.epoch, position.iteration
        else:
            # One long epoch, of which so many iterations are done
            length, position = 1, Position(0, meta['iter'], meta['iter'])
            loop._epoch, loop._iter = meta['epoch'], meta['iter']
        self._resume_seed(meta)
        if 'message_hub' in checkpoint:
            self.message_hub.load_state_dict(checkpoint['message_hub'])
        before = meta.get('run')
        before = before if isinstance(before, dict) else {}
        changed = describe_changes(before, run_settings(self))
        if resume_optimizer:
            refuse_other_optimizers(self.optim_wrapper, before)
            resume_optimizers(self.optim_wrapper, checkpoint['optimizer'])
        if resume_param_scheduler and self.param_schedulers is not None:
            for name, schedulers in _by_optimizer(self.param_schedulers).items():
                replay_schedules(schedulers, position, length)
                states = _by_optimizer(checkpoint.get('param_schedulers')).get(name)
                saved = checkpoint.get('optimizer', {})
                saved = saved.get(name, saved)
                anew = resume_followers(schedulers, states, saved)
                if anew:
                    self.logger.warning(anew)
        self._has_loaded = True
        self.logger.info(
            f'resumed epoch: {self.epoch}, iter: {self.iter} from {filename}'
        )
        if changed:
            self.logger.warning(f'Other settings than before: {changed}.')
        if self.iter >= self.max_iters:
            self.logger.warning(
                f'{self.iter} of {self.max_iters} iterations are done: there is '
                'nothing to train.'
            )

    def _resume_seed(self, meta: dict[str, Any]) -> None:
        """Take the seed of the run, which decides the order of the images."""
        seed = meta.get('seed')
        if seed is None or seed == self.seed:
            return
        if self._randomness_cfg.get('seed') is not None:
            self.logger.warning(
                f'The run was begun with seed {seed}, and goes on with it instead of '
                f'{self.seed}.'
            )
        self._randomness_cfg.update(seed=seed)
        self.set_randomness(**self._randomness_cfg)
        sampler: Any = self.train_dataloader.sampler
        if hasattr(sampler, 'seed'):
            sampler.seed = seed


def _by_optimizer(schedulers: Any) -> dict[str, Any]:
    """Schedules, or their states, by optimiser; '' for one that is the only one."""
    return schedulers if isinstance(schedulers, dict) else {'': schedulers}


def _class_name(hook: Hook) -> str:
    return type(hook).__name__


def save_whole(
    runner: Runner, out_dir: str, filename: str, *args: Any, **kwargs: Any
) -> None:
    """``save_checkpoint`` of any Runner, in one piece; on the main process only."""
    meta = dict(kwargs.pop('meta', None) or {})
    meta.update(saved_at=time.time(), run=run_settings(runner), jobs=job_names())
    if '://' in out_dir or kwargs.get('backend_args'):
        # Object stores put whole objects by themselves.
        with plain_states(runner):
            Runner.save_checkpoint(
                runner, out_dir, filename, *args, meta=meta, **kwargs
            )
        return
    path = os.path.join(out_dir, filename)
    try:
        with plain_states(runner), atomic_file(path) as unfinished:
            folder, name = os.path.split(unfinished)
            Runner.save_checkpoint(runner, folder, name, *args, meta=meta, **kwargs)
    except OSError as error:
        raise OSError(
            f'{error} Older checkpoints are whole: make room and go on with --resume.'
        ) from error


def _checkpoint_folders(runner: Runner) -> list[str]:
    """Where the run's checkpoints are: its work folder, and those of hooks."""
    folders = [runner.work_dir]
    for hook in runner.hooks:
        folder = getattr(hook, 'out_dir', None)
        if not (folder and hasattr(hook, 'max_keep_ckpts')) or '://' in str(folder):
            continue
        # As the hook will make it of what it was given.
        if folder != runner.work_dir:
            name = os.path.basename(os.path.normpath(runner.work_dir))
            folder = os.path.join(folder, name)
        folders.append(folder)
    return list(dict.fromkeys(folders))
