"""A resumed run that continues as if nothing had happened."""

import logging
import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.datasets.samplers import RepeatAugSampler
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

from ...datasets.seeding import (
    NumberedDataset,
    NumberedRepeats,
    SeededPipeline,
    unnumbered,
    with_pipelines,
)

_KEY = 'random_states'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Makes runs reproducible, whether resumed or not and for any workers.

    - The state of every random generator (Python, numpy, torch, CUDA) of every
      process is part of each checkpoint of a training, and set again on resume, so
      that stochastic depth and everything else random goes on where it stopped.
    - Transforms draw by seed, epoch and sample: ``MultiCrop`` is told seed and epoch,
      for others the global generators are seeded before each image
      (``SeededPipeline``). In a ``RepeatDataset`` or the like, and in repeated
      augmentation, each copy of an image has draws of its own (``NumberedDataset``).
    - Data loaders and validation do not touch the training's random stream.

    With an iteration-based loop only the last point holds.
    """

    # Restores last before an epoch, and gathers before CheckpointHook (VERY_LOW).
    priority = 'LOW'

    def __init__(self) -> None:
        self._to_save: list[dict] | None = None
        self._to_restore: dict | None = None
        self._before_val: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Give the loader a generator of its own, and its transforms seeds.

        A loader draws a seed from the global generator whenever it starts workers:
        once for persistent ones, and once more after a resume.
        """
        loader = runner.train_dataloader
        if loader.generator is None:
            loader.generator = torch.Generator().manual_seed(runner.seed)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            number_items(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore the random state after a resume; tell the epoch to transforms."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        # SwitchRecipeHook may just have given a pipeline that has no seeds yet.
        number_items(runner.train_dataloader)
        for transform in _transforms(runner.train_dataloader.dataset):
            if hasattr(transform, 'set_epoch'):
                transform.set_epoch(runner.seed, runner.epoch)
        if self._to_restore is not None:
            _set_state(self._to_restore)
            self._to_restore = None

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather the states of all processes for a checkpoint."""
        self.gather_random_states()

    def gather_random_states(self) -> None:
        """Put the states of this moment into the next checkpoint.

        All processes must call it. Only the main process writes checkpoints, too late
        to gather there.
        """
        # Within a validation: the state that training goes on from.
        state = self._before_val if self._before_val is not None else _get_state()
        self._to_save = all_gather_object(state)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the states into the checkpoint, if they are of this moment."""
        if self._to_save is not None:
            checkpoint[_KEY] = self._to_save

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Forget the states of the last checkpoint."""
        self._to_save = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the state of this process until training starts."""
        if not runner._resume:
            return
        states = checkpoint.get(_KEY)
        if states is None or len(states) != get_world_size():
            print_log(
                'The checkpoint holds the random states of '
                f'{0 if states is None else len(states)} processes, this run has '
                f'{get_world_size()}: training goes on from fresh random states.',
                logger='current',
                level=logging.WARNING,
            )
            return
        self._to_restore = states[get_rank()]

    def before_val(self, runner: Runner) -> None:
        """Remember the state before validation."""
        self._before_val = _get_state()

    def after_val(self, runner: Runner) -> None:
        """Continue as if there had been no validation."""
        if self._before_val is not None:
            _set_state(self._before_val)
            self._before_val = None


def _transforms(dataset: Any) -> list[Any]:
    """Transforms of a data set, also inside wrappers such as ``ConcatDataset``."""
    transforms: list[Any] = []
    for inner in with_pipelines(dataset):
        transforms += getattr(inner.pipeline, 'transforms', [])
        if isinstance(inner.pipeline, SeededPipeline):
            transforms.append(inner.pipeline)
    return transforms


def number_items(loader: DataLoader) -> None:
    """Seed the pipelines of a loader's data set, by item where it is a wrapped one.

    Each repeat of an image in repeated augmentation is an item, too.

    Args:
        loader: The loader; workers with a pipeline that is new have not started.
    """
    dataset: Any = unnumbered(loader.dataset)
    inner = list(with_pipelines(dataset))
    for part in inner:
        if not isinstance(part.pipeline, SeededPipeline):
            part.pipeline = SeededPipeline(part.pipeline)
    repeats = isinstance(loader.sampler, RepeatAugSampler)
    batches: Any = loader.batch_sampler
    if repeats and not isinstance(batches.sampler, NumberedRepeats):
        batches.sampler = NumberedRepeats(batches.sampler)
    is_numbered = isinstance(loader.dataset, NumberedDataset)
    if not is_numbered and (repeats or any(part is not dataset for part in inner)):
        # A DataLoader does not let it be exchanged.
        object.__setattr__(loader, 'dataset', NumberedDataset(loader.dataset))


def _get_state() -> dict[str, Any]:
    """State of all generators, in types that ``weights_only`` loading takes."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    numpy_keys = torch.from_numpy(np.asarray(keys, dtype=np.int64))
    state: dict[str, Any] = dict(
        python=random.getstate(),
        numpy=(name, numpy_keys, position, has_gauss, gauss),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def _set_state(state: dict[str, Any]) -> None:
    version, internal, gauss_next = state['python']
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, gauss = state['numpy']
    keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, gauss))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
