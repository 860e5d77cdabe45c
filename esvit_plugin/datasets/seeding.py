"""Augmentation that depends on seed, epoch and image alone."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from mmpretrain.datasets.samplers import RepeatAugSampler
from torch.utils.data import get_worker_info

# Which item of a wrapped data set is being made.
_item: ContextVar[int | None] = ContextVar('item', default=None)


@contextmanager
def making_item(index: int | None) -> Iterator[None]:
    """Tell ``SeededPipeline`` which item of a wrapped data set it makes.

    Args:
        index: Its index there; None where no data set is wrapped.
    """
    token = _item.set(index)
    try:
        yield
    finally:
        _item.reset(token)


class NumberedDataset:
    """A wrapped data set whose seeded pipelines know which of its items they make.

    ``RepeatDataset`` and the like only hand on the index of the image in the data set
    within, which is the same for all copies of an image.

    Args:
        dataset: The data set, whose attributes are those of this one, too.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        # Not what copies and loaders look for, such as __getitems__.
        if name == '_dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self._dataset, name)

    @property
    def pipeline(self) -> Any:
        """The pipeline of the data set; ``SwitchRecipeHook`` gives it another one."""
        return self._dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self._dataset.pipeline = pipeline

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        place = int(index) % len(self)
        # Those of ``NumberedRepeats`` go on beyond the end.
        with making_item(max(int(index), place)):
            return self._dataset[place]


class NumberedRepeats:
    """A sampler of repeated augmentation, with an index of its own for each repeat.

    mmpretrain's ``RepeatAugSampler`` gives the repeats of an image to different
    processes, where they would get the same draws. The repeats of image i of N are
    i, i + N, i + 2 N... here, which ``NumberedDataset`` reads.

    Args:
        sampler: The sampler, whose attributes are those of this one, too.
    """

    def __init__(self, sampler: RepeatAugSampler) -> None:
        self._sampler = sampler

    def __getattr__(self, name: str) -> Any:
        if name == '_sampler' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self._sampler, name)

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        sampler = self._sampler
        for number, index in enumerate(sampler):
            # Repeats lie side by side, and are dealt out to the processes in turn.
            place = sampler.rank + number * sampler.world_size
            yield index + place % sampler.num_repeats * len(sampler.dataset)


def with_pipelines(dataset: Any) -> Iterator[Any]:
    """The data sets with a pipeline: one itself, or those inside its wrappers."""
    dataset = unnumbered(dataset)
    if getattr(dataset, 'pipeline', None) is not None:
        yield dataset
    for inner in getattr(dataset, 'datasets', None) or [
        getattr(dataset, 'dataset', None)
    ]:
        if inner is not None:
            yield from with_pipelines(inner)


def unnumbered(dataset: Any) -> Any:
    """The data set in a ``NumberedDataset``, or in mmengine's of fewer batches.

    These pass on what is asked of them, but not what is set.
    """
    while (inner := getattr(dataset, '__dict__', {}).get('_dataset')) is not None:
        dataset = inner
    return dataset


class SeededPipeline:
    """A pipeline whose random numbers follow from (seed, epoch, ``sample_idx``).

    In a ``NumberedDataset`` they follow from the item's index there, too (of a repeat
    in repeated augmentation, that of ``NumberedRepeats``), and the
    sample has it as ``item_idx`` for transforms with generators of their own.

    Transforms of mmcv, mmpretrain and torchvision draw from the global generators of
    Python, numpy and torch. Those of a loader's workers depend on the number of
    workers and on what they did before, so that a resumed run would see other images.
    Here they are seeded before each image. In the main process they are put back
    afterwards, as the training draws from them, too.

    Args:
        pipeline: The pipeline of a data set.
    """

    def __init__(self, pipeline: Callable[[dict], Any]) -> None:
        self.pipeline = pipeline
        # Shared with the workers, also persistent ones; -1: not known yet.
        self._clock = torch.full((2,), -1, dtype=torch.int64).share_memory_()

    @property
    def transforms(self) -> list[Any]:
        """The transforms of the pipeline."""
        return getattr(self.pipeline, 'transforms', [])

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Tell the seed of the run and the coming epoch."""
        self._clock.copy_(torch.tensor([seed, epoch]))

    def __call__(self, data: dict) -> Any:
        """Run the pipeline on a sample."""
        seed, epoch = self._clock.tolist()
        if epoch < 0 or 'sample_idx' not in data:
            return self.pipeline(data)
        worker = get_worker_info() is not None
        states = None if worker else _get_states()
        words = [seed % 2**63, epoch, int(data['sample_idx'])]
        item = _item.get()
        if item is not None:
            # Besides sample_idx, so that what replaces a bad image is drawn anew.
            words.append(item)
            data['item_idx'] = item
        _seed(words)
        try:
            return self.pipeline(data)
        finally:
            # A worker keeps it: what replaces a bad image is drawn from it, too.
            if states is not None:
                _set_states(*states)


def _seed(words: list[int]) -> None:
    numbers = np.random.SeedSequence(words).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    # Not torch.manual_seed, which reaches GPUs.
    torch.default_generator.manual_seed(int(numbers[2]))


def _get_states() -> tuple[Any, Any, torch.Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_states(python: Any, numpy: Any, torch_state: torch.Tensor) -> None:
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(torch_state)
