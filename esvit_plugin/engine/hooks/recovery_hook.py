"""A checkpoint at any moment: when asked to end, and at intervals inside an epoch."""

import datetime
import os
import socket
import time
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ...datasets.loaders import shield_workers
from ..loops import ResumableTrainLoop
from ..newest import read_pointer
from ..resume import find_position
from ..runner import EsViTRunner
from ..signals import SignalKeeper, name_of, stop_for
from .checkpoint_hook import point_to
from .utils import common_batches, gather_random_states, steps_apart

FILENAME = 'recovery.pth'


@HOOKS.register_module()
class RecoveryHook(Hook):
    """Ends a run that is signalled with a checkpoint, and saves inside epochs.

    SIGTERM, SIGUSR1 (Slurm's warning: ``--signal=USR1@120``), SIGHUP and one Ctrl-C
    end the run after the current iteration: ``recovery.pth`` is written into the work
    folder, one line says how to go on, and the exit code is 128 + the signal. A second
    Ctrl-C ends it at once. A signal may reach any process of several: after each
    iteration they agree, on the CPU, so that no GPU is waited for. While accumulating
    gradients the next step of the optimiser is waited for. During an evaluation it is
    left, and done from its beginning on ``--resume``.

    ``recovery.pth`` is the only file of its kind, replaced by the next;
    ``EsViTRunner`` goes on from there inside the epoch.

    Args:
        interval: Iterations between checkpoints. Defaults to None, none but those of
            ``CheckpointHook``.
        minutes: Minutes between checkpoints. Defaults to None.
        timeout: Seconds after which the other processes give up on one that does not
            answer, and end with an error. Defaults to 1800.

    Raises:
        ValueError: If a number is not positive.
    """

    # After all that belongs to an iteration.
    priority = 'LOWEST'

    def __init__(
        self,
        interval: int | None = None,
        minutes: float | None = None,
        timeout: float = 1800,
    ) -> None:
        numbers = dict(interval=interval, minutes=minutes, timeout=timeout)
        for name, value in numbers.items():
            if value is not None and not value > 0:
                raise ValueError(f'RecoveryHook: {name} must be > 0, got {value}.')
        self.interval = interval
        self.minutes = minutes
        self.timeout = timeout
        self._due = False
        self._keeper: SignalKeeper | None = None
        self._group: Any = None
        self._swapped: set[EMAHook] = set()

    def before_run(self, runner: Runner) -> None:
        """Let a plain ``Runner`` go on inside an epoch, too."""
        loop = runner._train_loop
        if type(loop) is EpochBasedTrainLoop:
            # It is built already, and differs in what it does, not in what it keeps.
            loop.__class__ = ResumableTrainLoop

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Place the checkpoint in this run, for a plain ``Runner``."""
        meta, loop = checkpoint.get('meta'), runner._train_loop
        if isinstance(runner, EsViTRunner) or not (runner._resume and meta):
            return
        if isinstance(loop, ResumableTrainLoop):
            position = find_position(meta, len(loop.dataloader))
            meta.update(epoch=position.epoch, iter=position.iteration)

    def before_train(self, runner: Runner) -> None:
        """Take the signals, before workers are started."""
        several = get_world_size() > 1
        self._saved_at = time.monotonic()
        self._keeper = SignalKeeper(launched=several)
        self._keeper.open()
        if several:
            limit = datetime.timedelta(seconds=self.timeout)
            self._group = _group_on_cpu(limit)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                self._watch_swaps(hook)
        shield_workers(runner.train_dataloader)
        if isinstance(runner._val_loop, BaseLoop):
            shield_workers(runner.val_dataloader)

    def _watch_swaps(self, hook: EMAHook) -> None:
        """Know when the model has the weights of its average, for a validation."""
        swap = hook._swap_ema_parameters

        def watched() -> None:
            swap()
            self._swapped ^= {hook}

        hook._swap_ema_parameters = watched

    def after_train(self, runner: Runner) -> None:
        """Give the signals back; what a finished run does not need is deleted."""
        self.close()
        path = os.path.join(runner.work_dir, FILENAME)
        if is_main_process() and _saved_since(runner) and os.path.isfile(path):
            os.remove(path)

    def close(self) -> None:
        """Give the signals back, whatever happened."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Save if it is time, and end if a process was signalled."""
        late = self.minutes and time.monotonic() - self._saved_at > 60 * self.minutes
        number, due = self._agree(bool(late))
        if self.interval and (runner.iter + 1) % self.interval == 0:
            due = True
        self._due |= due  # until the next step of the optimiser
        if not (number or self._due) or (runner.iter + 1) % steps_apart(runner):
            return
        self._save(runner, runner.epoch, runner.iter + 1)
        if number:
            done = f'iteration {runner.iter + 1} of {runner.max_iters}'
            self._stop(runner, number, done)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Leave a validation if a process was signalled."""
        loop = runner.train_loop
        if self._keeper is None or not isinstance(loop, EpochBasedTrainLoop):
            return
        # All must answer.
        if batch_idx < common_batches(runner.val_dataloader):
            # The epoch is over for the loop, but not for what ends it.
            self.leave_evaluation(runner, runner.epoch - 1)

    def leave_evaluation(self, runner: Runner, epoch: int | None = None) -> None:
        """End the run if a process was signalled during an evaluation.

        All processes must call it. The checkpoint is that of all iterations of the
        epoch; what comes at its end is done, or done again, by the resumed run.

        Args:
            runner: The runner.
            epoch: The epoch. Defaults to None, the runner's.
        """
        if self._keeper is None:
            return
        number, _ = self._agree(False)
        if number:
            epoch = runner.epoch if epoch is None else epoch
            for hook in tuple(self._swapped):
                # The checkpoint is one of the training.
                hook._swap_ema_parameters()
            self._save(runner, epoch, runner.iter)
            done = f'the iterations of epoch {epoch + 1} of {runner.max_epochs}'
            self._stop(runner, number, done)

    def _agree(self, due: bool) -> tuple[int, bool]:
        """The signal that any process got, and whether the main one wants to save."""
        number = self._keeper.received if self._keeper is not None else 0
        if self._group is None:
            return number, due
        votes = torch.tensor([number, int(due and is_main_process())])
        # ResumableTrainLoop says what a time-out means.
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self._group)
        return int(votes[0]), bool(votes[1])

    def _save(self, runner: Runner, epoch: int, iteration: int) -> None:
        self._due = False
        gather_random_states(runner)
        path = os.path.join(runner.work_dir, FILENAME)
        runner.message_hub.update_info('last_ckpt', path)
        meta = dict(epoch=epoch, iter=iteration)
        runner.save_checkpoint(runner.work_dir, FILENAME, meta=meta, by_epoch=False)
        if is_main_process():
            point_to(runner, path)
        self._saved_at = time.monotonic()

    def _stop(self, runner: Runner, number: int, after: str) -> None:
        if self._group is not None:
            # None ends before the file is whole: the launcher would end them all.
            dist.barrier(self._group)
        path = os.path.join(runner.work_dir, FILENAME)
        stop_for(
            number,
            f'{name_of(number)}: stopped after {after}, saved in {path}. '
            'To go on, give the same command with --resume, without a path.',
            speak=is_main_process(),
        )


def _group_on_cpu(limit: datetime.timedelta) -> Any:
    """The processes, to agree without a GPU.

    Raises:
        RuntimeError: If they do not reach each other so.
    """
    try:
        return dist.new_group(backend='gloo', timeout=limit)
    except RuntimeError as error:
        raise RuntimeError(
            f'RecoveryHook: process {dist.get_rank()} on {socket.gethostname()} does '
            f'not reach the others by gloo ({error}). The name of a machine may stand '
            'for 127.0.0.1 there: set GLOO_SOCKET_IFNAME to the network interface '
            'that the machines share (ip addr), e.g. eth0, on each.'
        ) from error


def _saved_since(runner: Runner) -> bool:
    """Whether the last checkpoint is there, and another one than the hook's."""
    target = read_pointer(runner.work_dir) or ''
    if '://' in target:
        return True  # of an object store, which is not asked
    name = os.path.basename(target)
    folders = [getattr(hook, 'out_dir', None) for hook in runner.hooks]
    paths = [os.path.join(str(f), name) for f in (runner.work_dir, *folders) if f]
    return name != FILENAME and any(map(os.path.isfile, paths))
