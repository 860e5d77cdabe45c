"""Loaders of evaluations that leave damaged images out instead of replacing them."""

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

from .seeding import NumberedDataset, with_pipelines

# What a pipeline gives in place of None, for which data sets of mmengine would draw
# another image, which would then count twice.
_DAMAGED = 'damaged'


class _Pipeline:
    """A pipeline that says that an image is damaged."""

    def __init__(self, pipeline: Callable[[dict], Any]) -> None:
        self.pipeline = pipeline

    @property
    def transforms(self) -> list[Any]:
        return getattr(self.pipeline, 'transforms', [])

    def __call__(self, data: dict) -> Any:
        sample = self.pipeline(data)
        return _DAMAGED if sample is None else sample


class WholeImages(NumberedDataset):
    """A data set whose damaged images are None, each sample with its own index.

    The index is ``sample_idx`` of ``data_samples``, also where data sets are wrapped.

    Args:
        dataset: The data set, whose attributes are those of this one, too. Pipelines
            in it are exchanged.
    """

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        for inner in with_pipelines(dataset):
            inner.pipeline = _Pipeline(inner.pipeline)

    def __getitem__(self, index: int) -> Any:
        sample = self._dataset[index]
        if sample is None or sample is _DAMAGED:
            return None
        sample['data_samples'].set_metainfo(dict(sample_idx=int(index)))
        return sample


class _Collate:
    """A batch of the images that are whole; None if none is."""

    def __init__(self, collate: Callable[[list], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        whole = [sample for sample in samples if sample is not None]
        return self.collate(whole) if whole else None


def leave_out_damaged(loader: DataLoader) -> None:
    """Let a loader leave out images that its pipeline gives up.

    ``LoadImage(on_error='skip')`` does so. Labels are those of the images that are
    left, and evaluations count the others.

    Args:
        loader: The loader; its workers have not started.
    """
    # A DataLoader does not let it be exchanged.
    object.__setattr__(loader, 'dataset', WholeImages(loader.dataset))
    loader.collate_fn = _Collate(loader.collate_fn)
