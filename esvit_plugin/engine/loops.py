"""A training loop that goes on inside an epoch."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

from mmengine.dist import all_gather_object, get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from .cli import Failure

# How gloo and NCCL say that another process is gone or silent.
LOST_PROCESS = re.compile(
    r'[Tt]imed out|Connection (closed|reset|refused)|[Tt]imeout|NCCL communicator'
)


class _SkipBatches:
    """A batch sampler that can leave out its first batches."""

    def __init__(self, batch_sampler: Any) -> None:
        self._batch_sampler = batch_sampler
        self.number = 0

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self._batch_sampler), self.number, None)

    def __len__(self) -> int:
        return len(self._batch_sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch_sampler, name)


@contextmanager
def skipped_batches(loader: DataLoader, number: int) -> Iterator[None]:
    """Make passes over a loader begin after some batches, without loading them.

    Args:
        loader: The loader; not iterated over yet.
        number: How many.
    """
    sampler = _SkipBatches(loader.batch_sampler)
    # A DataLoader does not let it be exchanged, but only asks it for batches. It stays,
    # as the iterator of persistent workers keeps it.
    object.__setattr__(loader, 'batch_sampler', sampler)
    sampler.number = number
    yield
    sampler.number = 0


def no_iteration(
    images: int, batch_size: int | None, processes: int, drop_last: bool
) -> ValueError:
    """The error of a data set that is smaller than a batch.

    Args:
        images: How many there are.
        batch_size: Of a process.
        processes: How many there are.
        drop_last: Whether a last batch that is smaller is left out.
    """
    return ValueError(
        f'{images} images, batch {batch_size} x {processes}, drop_last={drop_last}: no '
        'iteration. Set a smaller train_dataloader.batch_size or '
        'train_dataloader.drop_last=False.'
    )


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop`` that can begin inside an epoch.

    Its arguments are those of ``EpochBasedTrainLoop``. ``EsViTRunner`` uses it for
    ``train_cfg=dict(by_epoch=True, ...)``.

    Raises:
        ValueError: If the data set is smaller than a batch, or ``max_epochs`` is no
            positive integer.
    """

    def __init__(self, runner: Any, dataloader: Any, max_epochs: int, **kwargs: Any):
        if int(max_epochs) != max_epochs or max_epochs <= 0:
            raise ValueError(
                f'train_cfg.max_epochs must be a positive integer, got {max_epochs}.'
            )
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        if not len(self.dataloader):
            loader, processes = self.dataloader, get_world_size()
            images = len(loader.dataset)
            raise no_iteration(images, loader.batch_size, processes, loader.drop_last)
        self._compare_processes()

    def _compare_processes(self) -> None:
        """Refuse images of which the processes have not as many.

        With other numbers of batches some would wait for the others, and a sampler
        that deals images out would repeat some and miss others.
        """
        loader: Any = self.dataloader
        is_dealt = hasattr(loader.sampler, 'world_size')
        sizes = len(loader.dataset) if is_dealt else None, len(loader)
        found = all_gather_object((sizes, socket.gethostname()))
        if len({sizes for sizes, _ in found}) > 1:
            # On one machine the processes themselves may differ.
            places = [f'process {i} on {host}' for i, (_, host) in enumerate(found)]
            least, most = min(found), max(found)
            low, high = (places[found.index(one)] for one in (least, most))
            unit = 'images' if least[0][0] != most[0][0] else 'batches'
            numbers = [one[0][unit == 'batches'] for one in (least, most)]
            raise ValueError(
                f'train_dataloader: {low} has {numbers[0]} {unit}, {high} '
                f'{numbers[1]}: give all the same images, and a sampler that gives '
                'all as many batches.'
            )

    def run_epoch(self) -> None:
        """Train one epoch, or the rest of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        # More than whole epochs only after a resume; if all batches are done, only
        # what comes at the end of the epoch is: evaluation and the checkpoint.
        start = self._iter - self._epoch * len(self.dataloader)
        skipped = skipped_batches(self.dataloader, start) if start else nullcontext()
        if start < len(self.dataloader):
            with skipped:
                for index, batch in enumerate(self._batches(), start):
                    self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch, with a plain word about processes that are lost."""
        try:
            super().run_iter(idx, data_batch)
        except RuntimeError as error:
            if get_world_size() > 1 and LOST_PROCESS.search(str(error)):
                raise Failure(
                    'Another process has ended, or has not answered within the '
                    'time-out (env_cfg.dist_cfg.timeout and default_hooks.recovery.'
                    'timeout, in seconds). Go on with --resume.'
                ) from error
            raise

    def _batches(self) -> Iterator[Any]:
        """The batches, with a plain word about workers that fail."""
        try:
            yield from self.dataloader
        except RuntimeError as error:
            if not str(error).startswith('DataLoader'):
                raise
            reason = str(error).splitlines()[0]
            raise Failure(
                f'Loading data failed: {reason}. A worker hangs (a network disk; '
                'train_dataloader.timeout is in seconds) or was killed (memory; set '
                'fewer train_dataloader.num_workers). Go on with --resume.'
            ) from error
