"""Checkpoints of which the last good one is never lost."""

import os
from collections import deque
from types import MethodType
from typing import Any

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoints import UNFINISHED, atomic_file
from ..newest import POINTER
from ..runner import EsViTRunner, save_whole
from .utils import gather_random_states


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` that replaces nothing before the new is whole.

    mmengine deletes the oldest checkpoint before it writes the next one, and writes
    checkpoint and ``last_checkpoint`` in place: with one kept, a kill or a full disk
    during a save loses all. Here each appears under its name when it is complete on
    the disk, and the oldest, or the best before, is deleted afterwards. Arguments are
    those of ``CheckpointHook``; a ``save_begin`` below 1 is a share of the training,
    whatever its length: 2 / 3 of 300 epochs is 200, rounded to the ``interval``.

    Raises:
        ValueError: If ``interval`` is neither positive nor -1.
    """

    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]
    save_begin: float

    def __init__(self, interval: int = -1, **kwargs: Any) -> None:
        if not isinstance(interval, int) or (interval < 1 and interval != -1):
            raise ValueError(
                'AtomicCheckpointHook: interval must be >= 1, or -1 for none but the '
                f'last, got {interval!r}.'
            )
        super().__init__(interval=interval, **kwargs)

    def before_train(self, runner: Runner) -> None:
        """Take over saving, and clear what a kill has left unfinished."""
        last = runner.max_epochs if self.by_epoch else runner.max_iters
        self.save_begin = first_save(self.save_begin, self.interval, last)
        super().before_train(runner)
        if self.save_best is not None:
            self._forget_elsewhere()
        if not isinstance(runner, EsViTRunner):
            runner.save_checkpoint = MethodType(master_only(save_whole), runner)
        if is_main_process() and os.path.isdir(str(self.out_dir)):
            for entry in os.scandir(str(self.out_dir)):
                if entry.name.startswith('.') and f'{UNFINISHED}.pth' in entry.name:
                    os.remove(entry.path)

    def _forget_elsewhere(self) -> None:
        """Never delete a best checkpoint that is not in this run's folder."""
        folder = os.path.realpath(str(self.out_dir))

        def own(path: Any) -> str | None:
            inside = path and os.path.realpath(os.path.dirname(path)) == folder
            return path if inside else None

        if hasattr(self, 'best_ckpt_path'):
            self.best_ckpt_path = own(self.best_ckpt_path)
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = own(path)

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict[str, Any]
    ) -> None:
        gather_random_states(runner)
        kept = [old for old in getattr(self, 'keep_ckpt_ids', ()) if old != step]
        kept.append(step)
        if self.max_keep_ckpts > 0:
            # With those to be deleted: should this be cut short, resuming deletes them.
            runner.message_hub.update_info('keep_ckpt_ids', list(kept))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            point_to(runner, str(self.last_ckpt))
        if self.max_keep_ckpts > 0:
            for old in kept[: -self.max_keep_ckpts]:
                name = self.filename_tmpl.format(old)
                self._delete(self.file_backend.join_path(self.out_dir, name))
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :])

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        if not self.save_best:
            return
        old = self._best_paths()
        # What mmengine would delete before it writes the new one.
        self._set_best_paths(dict.fromkeys(old))
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            new = self._best_paths()
            # Of a metric that is no better, the file stays.
            now = {key: path or old.get(key) for key, path in new.items()}
            self._set_best_paths(now)
        for path in old.values():
            if path and path not in now.values():
                self._delete(path)

    def _best_paths(self) -> dict[str, str | None]:
        """The best checkpoints by metric; '' for that of a single one."""
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = paths

    @master_only
    def _delete(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)


def first_save(save_begin: float, interval: int, last: int) -> int:
    """The first epoch, or iteration, of which there is a checkpoint.

    Args:
        save_begin: It, or below 1 the share of the training that is before it.
        interval: Epochs from one to the next.
        last: Epochs of the training.
    """
    if save_begin >= 1 or not save_begin:
        return int(save_begin)
    return round(save_begin * last / interval) * interval


def point_to(runner: Runner, path: str) -> None:
    """Write the name of the last checkpoint, for mmengine's tools."""
    with (
        atomic_file(os.path.join(runner.work_dir, POINTER)) as unfinished,
        open(unfinished, 'w', encoding='utf-8') as file,
    ):
        file.write(path)
