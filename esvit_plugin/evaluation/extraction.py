"""Features of a whole data set: the one loop that all evaluations share."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import (
    all_gather,
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.logging import print_log
from mmengine.utils import ProgressBar
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from ..datasets.labels import MAX_CLASSES
from ..datasets.paths import NUM_NAMED, printable
from ..datasets.whole_images import WholeImages

# A log gets a line of progress after so many seconds.
LOG_SECONDS = 30


class FeatureBank:
    """Features of images, and what belongs to them, filled batch by batch.

    The memory for all images is taken with the first batch: joining batches at the
    end would need it twice.

    Args:
        num_images: How many images there can be.
    """

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images
        self._size = 0
        self._arrays: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """The number of images so far."""
        return self._size

    def __getitem__(self, name: str) -> Tensor:
        """The rows of all images so far, shape (N, ...), on the CPU.

        Floating-point numbers are float32. Without an image the tensor is empty.
        """
        return self._arrays.get(name, torch.empty(0))[: self._size]

    def append(self, **rows: Tensor) -> None:
        """Add the images of a batch.

        Args:
            **rows: By name, shape (B, ...); each time the same names.
        """
        start = self._size
        for name, values in rows.items():
            if name not in self._arrays:
                dtype = torch.float32 if values.is_floating_point() else values.dtype
                shape = self.num_images, *values.shape[1:]
                self._arrays[name] = torch.empty(shape, dtype=dtype)
            self._arrays[name][start : start + len(values)] = values
            self._size = start + len(values)


@torch.no_grad()
def run_batches(
    model: Any,
    loader: DataLoader,
    extract: Callable[[Tensor], Any],
    show_progress: bool = False,
    each_batch: Callable[[], None] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Run a model over the images of a loader, without gradients.

    Args:
        model: A model with a ``data_preprocessor``. Its mode is left to the caller.
        loader: Each batch is a dict with ``inputs``, or None where all of its images
            are damaged.
        extract: Function of normalised images (B, 3, H, W).
        show_progress: Whether to print a progress bar; where the output is no
            terminal, a line every 30 seconds. Defaults to False.
        each_batch: Called before each batch is run, also before one that is None.
            Defaults to None.

    Yields:
        Each batch as the loader gave it, and what ``extract`` made of it.
    """
    num_images = len(loader.sampler)  # type: ignore[arg-type]
    show = _progress(num_images) if show_progress else lambda number: None
    done = 0
    for batch in loader:
        if each_batch is not None:
            each_batch()
        if batch is not None:
            yield batch, extract(model.data_preprocessor(batch, False)['inputs'])
        step = min(loader.batch_size or 1, num_images - done)
        done += step
        show(step)


def _progress(num_images: int) -> Callable[[int], None]:
    """What to call with the number of images done by each batch."""
    if sys.stdout.isatty():
        bar = ProgressBar(num_images, file=sys.stdout)

        def update(number: int) -> None:
            bar.update(number)
            if bar.completed >= num_images:
                print()

        return update
    start = last = time.monotonic()
    done = 0

    def log(number: int) -> None:
        nonlocal done, last
        done += number
        now = time.monotonic()
        if now - last >= LOG_SECONDS and done < num_images:
            last = now
            rate = done / (now - start)
            print(f'  {done} of {num_images} images, {rate:.1f} images/s', flush=True)

    return log


class Shard(NamedTuple):
    """The images of a data set that are one process's, each of them once.

    Args:
        features: Shape (n, C), float32.
        labels: Classes (n,).
        indices: Places of the images in the data set (n,), rising.
        sizes: The number of images of each process.
    """

    features: Tensor
    labels: Tensor
    indices: Tensor
    sizes: list[int]

    def to(self, device: torch.device | str) -> 'Shard':
        """The same on another device."""
        tensors = [tensor.to(device) for tensor in self[:3]]
        return Shard(tensors[0], tensors[1], tensors[2], self.sizes)


@torch.no_grad()
def extract_shard(
    model: Any,
    loader: DataLoader,
    extract: Callable[[Tensor], Tensor] | None = None,
    each_batch: Callable[[], None] | None = None,
) -> Shard:
    """Features and labels of this process's share of the images of a loader.

    A sampler deals images out in turn, and may pad the shares to one length: what it
    repeats is left out here. Images that the loader leaves out as damaged are
    counted in a warning.

    Args:
        model: See :func:`extract_features`.
        loader: See :func:`extract_features`.
        extract: See :func:`extract_features`.
        each_batch: See :func:`run_batches`.

    Returns:
        The share, on the CPU.

    Raises:
        ValueError: As :func:`extract_features`, in all processes alike.
    """
    if getattr(loader.sampler, 'shuffle', False):
        raise ValueError(
            "extract_features needs the data set's order; set sampler=dict("
            "type='DefaultSampler', shuffle=False) in the dataloader."
        )
    knows_index = isinstance(loader.dataset, WholeImages)
    batches: Any = loader.batch_sampler
    dealt = torch.tensor([i for batch in batches for i in batch]).long()
    bank = FeatureBank(len(loader.sampler))  # type: ignore[arg-type]
    metainfo = getattr(loader.dataset, 'metainfo', None) or {}
    num_classes = len(metainfo.get('classes') or ()) or MAX_CLASSES
    extract, fault = extract or model.extract_feat, ''
    for batch, found in run_batches(model, loader, extract, each_batch=each_batch):
        samples = batch['data_samples']
        indices = dealt[len(bank) : len(bank) + len(samples)]
        if knows_index:
            indices = torch.tensor([sample.sample_idx for sample in samples])
        try:
            labels = _labels(samples, num_classes)
        except ValueError as error:
            if get_world_size() == 1:
                raise
            # The others wait for this process until the end.
            labels, fault = torch.full((len(samples),), -1), fault or str(error)
        bank.append(features=found, labels=labels, indices=indices)
    features, labels = bank['features'], bank['labels']
    indices = bank['indices'].long()
    own = indices % get_world_size() == get_rank()
    numbers = (
        len(loader.sampler) - len(dealt),  # type: ignore[arg-type]
        int((dealt % get_world_size() == get_rank()).sum()),
        int(own.sum()),
        features.shape[1] if len(bank) else 0,
        bool(fault),
    )
    gathered = torch.stack(all_gather(torch.tensor(numbers)))
    missing, shares, sizes, widths, faults = gathered.T.tolist()
    if any(faults):
        raise ValueError(next(filter(None, all_gather_object(fault))))
    size = len(loader.dataset)  # type: ignore[arg-type]
    if get_world_size() > 1 and (any(missing) or sum(shares) != size):
        raise ValueError(
            f'On several processes each of the {size} images must reach one process, '
            f'in turn: {sum(shares)} were dealt out, and {sum(missing)} of them left '
            "out. Set sampler=dict(type='DefaultSampler', shuffle=False), "
            'drop_last=False.'
        )
    if sizes != shares:
        left_out = set(dealt.tolist()) - set(indices.tolist())
        names = all_gather_object(names_of(loader.dataset, left_out))
        warn_of_damaged(sum(shares) - sum(sizes), sum(shares), sum(names, []))
    if not len(bank):
        features, labels = torch.empty(0, max(widths)), indices
    if own.all():  # without a copy
        return Shard(features, labels, indices, sizes)
    return Shard(features[own], labels[own], indices[own], sizes)


def names_of(dataset: Any, indices: Iterable[int]) -> list[str]:
    """The first files of some images of a data set, where it tells them.

    Args:
        dataset: The data set.
        indices: Of the images.
    """
    look_up: Any = getattr(dataset, 'get_data_info', lambda index: {})
    paths = (look_up(index).get('img_path', '') for index in sorted(indices))
    return [printable(str(path)) for path in islice(filter(None, paths), NUM_NAMED)]


def warn_of_damaged(number: int, total: int, names: Sequence[str]) -> None:
    """Say how many images a loader has left out.

    Args:
        number: How many.
        total: Of how many.
        names: Some of their files.

    Raises:
        ValueError: If these are all.
    """
    some = f', among them {", ".join(names[:NUM_NAMED])}' if names else ''
    if number and number == total:
        raise ValueError(f'None of the {total} images could be read{some}.')
    if number and is_main_process():
        print_log(
            f'{number} of {total} images are damaged and left out of the evaluation'
            f'{some}.',
            logger='current',
            level=logging.WARNING,
        )


def extract_features(
    model: Any,
    loader: DataLoader,
    extract: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Features and labels of all images of a loader.

    Each process runs its share; all get the whole result, in the data set's order. A
    loader of ``build_eval_loader`` leaves damaged images out, with a warning.

    Args:
        model: A model with ``data_preprocessor`` and, unless ``extract`` is given,
            ``extract_feat``. Its mode is left to the caller.
        loader: Loader whose pipeline ends in ``PackInputs``, over a labelled data
            set, with a sampler that does not shuffle.
        extract: Function from normalised images (B, 3, H, W) to features (B, C).
            Defaults to ``model.extract_feat``.

    Returns:
        Features (N, C), float32 on the CPU, and labels (N,).

    Raises:
        ValueError: If the data set has no labels, or one that is no class, the loader
            shuffles or no image is whole; on several processes also if not each image
            is given to one of them.
    """
    shard = extract_shard(model, loader, extract)
    if get_world_size() == 1:
        return shard.features, shard.labels
    rows = max(shard.sizes)
    features, labels, indices = (
        torch.cat(
            [
                part[:size]
                for part, size in zip(
                    all_gather(pad_rows(mine, rows)), shard.sizes, strict=True
                )
            ]
        )
        for mine in shard[:3]
    )
    # Images were dealt out in turn, and damaged ones are missing.
    order = indices.argsort()
    return features[order], labels[order]


def pad_rows(tensor: Tensor, number: int, value: float = 0) -> Tensor:
    """A tensor with so many rows, the missing ones filled with a value."""
    missing = number - len(tensor)
    padding = [0, 0] * (tensor.dim() - 1) + [0, missing]
    return F.pad(tensor, padding, value=value) if missing else tensor


def _labels(samples: Sequence[DataSample], num_classes: int) -> Tensor:
    """Classes (B,) of labelled images, each below a number."""
    labels = []
    for sample in samples:
        label, image = sample.get('gt_label'), sample.get('img_path', 'an image')
        if label is None:
            raise ValueError(
                'k-NN evaluation needs labels, but the data set gives none for '
                f'{printable(image)}. Use a labelled data set, e.g. '
                "dict(type='CustomDataset', data_root=..., with_label=True)."
            )
        if not 0 <= int(label) < num_classes:
            raise ValueError(
                f'k-NN evaluation: {printable(image)} has the label {int(label)}, but '
                f'classes are 0 to {num_classes - 1}: mend the label, or leave the '
                'image out.'
            )
        labels.append(int(label))
    return torch.tensor(labels)
