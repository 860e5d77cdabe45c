"""Augmentation that depends on seed, epoch and image alone."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info


class SeededPipeline:
    """A pipeline whose random numbers follow from (seed, epoch, ``sample_idx``).

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
        _seed([seed % 2**63, epoch, int(data['sample_idx'])])
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
