"""Pictures of the views that augmentation makes of images."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import Compose, default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image
from torch import Tensor

from ..datasets.seeding import SeededPipeline, making_item
from ..datasets.transforms.loading import LoadImage, LoadImageFromBytes
from ..datasets.transforms.multi_crop import MultiCrop
from .figures import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In pixels: the side of the largest view, the least room for a title, the height of a
# title, the space between views, and the width of the picture.
_SIDE, _ROOM, _TITLE, _GAP, _WIDTH = 190, 104, 20, 8, 920


class SampleViews(NamedTuple):
    """The views of an image.

    Args:
        name: Of the image.
        image: As it was loaded, RGB uint8 array (H, W, 3).
        views: Title of each view, and the view, RGB uint8 array (S, S, 3).
    """

    name: str
    image: np.ndarray
    views: list[tuple[str, np.ndarray]]


class _Keep:
    """A step of a pipeline that keeps the first image that comes by."""

    image: np.ndarray | None = None

    def __call__(self, results: dict) -> dict:
        if self.image is None and isinstance(results.get('img'), np.ndarray):
            self.image = results['img'].copy()
        return results


def sample_views(
    cfg: Mapping[str, Any],
    paths: Sequence[str] | None = None,
    num_images: int = 4,
    seed: int = 0,
    epoch: int = 0,
) -> Iterator[SampleViews]:
    """Views of images as a training sees them.

    Images go through the pipeline of the training set and the model's preprocessor,
    which finishes what ``DeviceMultiCrop`` leaves to the device; normalisation is
    undone. Views are those of a training with ``RandomStateHook``, of this seed and in
    this epoch, where images are of the training set.

    Args:
        cfg: The config of a training.
        paths: Image files. Defaults to None, images of the training set.
        num_images: How many of the training set, drawn at random. Defaults to 4.
        seed: Of the views, and of the images drawn. Defaults to 0.
        epoch: Counted from 0. Defaults to 0.

    Yields:
        The views of each image.

    Raises:
        ValueError: If the config has no training set with a pipeline, or an image
            cannot be read.
    """
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    whole = (cfg.get('train_dataloader') or {}).get('dataset')
    dataset_cfg = _innermost(whole)
    is_wrapped = dataset_cfg != whole
    steps = list(Compose(dataset_cfg['pipeline']).transforms)
    crops = [step for step in _nested(steps) if isinstance(step, MultiCrop)]
    is_rgb = any(crop.channel_order == 'rgb' for crop in crops)
    preprocessor = _preprocessor(cfg)
    if paths is None:
        samples = _training_samples(dataset_cfg, num_images, seed)
    else:
        samples = (
            dict(img_path=path, sample_idx=i, **_given(path, steps, is_rgb))
            for i, path in enumerate(paths)
        )
    for sample in samples:
        keep, name = _Keep(), str(sample.get('img_path', sample['sample_idx']))
        kept = [part for step in steps for part in (keep, step)]
        pipeline = SeededPipeline(Compose(kept))
        pipeline.set_epoch(seed, epoch)
        for crop in crops:
            crop.set_epoch(seed, epoch)
        # Of a repeated or joined set the first copies, or those of the first part.
        with making_item(sample['sample_idx'] if is_wrapped else None):
            packed = pipeline(sample)
        if packed is None or keep.image is None:
            raise ValueError(f'{name} cannot be read as an image.')
        image = keep.image.reshape(*keep.image.shape[:2], -1)
        image = image if is_rgb else image[..., ::-1]
        image = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.uint8)
        views = _finish(packed, preprocessor, is_rgb)
        yield SampleViews(name, image, _titled(views))


def _innermost(dataset: Any) -> dict[str, Any]:
    """The config of a data set that has a pipeline, inside wrappers too."""
    while isinstance(dataset, Mapping) and not dataset.get('pipeline'):
        inner = dataset.get('datasets') or [dataset.get('dataset')]
        dataset = inner[0]
    if not isinstance(dataset, Mapping):
        raise ValueError(
            'The config has no pipeline to draw views of: it needs '
            'train_dataloader.dataset.pipeline.'
        )
    return dict(dataset)


def _training_samples(
    dataset_cfg: dict[str, Any], num_images: int, seed: int
) -> Iterator[dict[str, Any]]:
    dataset = DATASETS.build({**dataset_cfg, 'pipeline': []})
    rng = np.random.default_rng(seed)
    count = min(num_images, len(dataset))
    for number in sorted(rng.choice(len(dataset), count, replace=False).tolist()):
        yield dataset.get_data_info(number)


def _given(path: str, steps: Sequence[Any], is_rgb: bool) -> dict[str, Any]:
    """What the first steps of a pipeline take of an image file beside its path."""
    try:
        if any(isinstance(step, LoadImageFromBytes) for step in _nested(steps)):
            with open(path, 'rb') as file:
                return dict(img_bytes=file.read())
        # Of a set that has its images in memory, no step loads them.
        if any('Load' in type(step).__name__ for step in steps):
            return {}
        loaded: Any = LoadImage().transform(dict(img_path=path))
    except OSError as error:
        raise ValueError(f'{path} cannot be read as an image: {error}') from error
    image = loaded['img']
    return dict(img=np.ascontiguousarray(image[..., ::-1] if is_rgb else image))


def _nested(steps: Sequence[Any]) -> Iterator[Any]:
    """All steps of a pipeline, also inside others such as ``MultiView``."""
    for step in steps:
        yield step
        yield from _nested(getattr(step, 'transforms', ()))


def _preprocessor(cfg: Mapping[str, Any]) -> Any:
    """What normalises the batches of a config, as its Runner builds it."""
    model = cfg.get('model') or {}
    own = dict(model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    classifies = 'Classifier' in str(model.get('type'))
    kind = 'ClsDataPreprocessor' if classifies else 'MultiCropDataPreprocessor'
    return MODELS.build({'type': kind, **own})


@torch.no_grad()
def _finish(packed: dict, preprocessor: Any, is_rgb: bool) -> list[np.ndarray]:
    """What a model is given of a sample, without normalisation: RGB uint8 views."""
    inputs = preprocessor(default_collate([packed]))['inputs']
    converts = any(
        getattr(preprocessor, name, False) for name in ('_channel_conversion', 'to_rgb')
    )
    views: list[np.ndarray] = []
    for batch in [inputs] if isinstance(inputs, Tensor) else inputs:
        if getattr(preprocessor, '_enable_normalize', False):
            batch = batch * preprocessor.std + preprocessor.mean
        batch = batch.reshape(-1, *batch.shape[-3:])
        batch = batch.round().clamp(0, 255).to(torch.uint8).cpu()
        if is_rgb == converts:
            batch = batch.flip(1)  # they are BGR
        views.extend(batch.permute(0, 2, 3, 1).numpy())
    return views


def _titled(views: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Views with their kind, number and size."""
    shapes = [view.shape[:2] for view in views]
    several_sizes = len(set(shapes)) > 1
    titled, counts = [], dict.fromkeys(('view', 'global', 'local'), 0)
    for view, (height, width) in zip(views, shapes, strict=True):
        kind = 'view'
        if several_sizes:
            kind = 'global' if (height, width) == max(shapes) else 'local'
        counts[kind] += 1
        size = f'{width}' if height == width else f'{width} × {height}'
        titled.append((f'{kind} {counts[kind]}, {size} px', view))
    return titled


def draw_views(samples: Sequence[SampleViews]) -> 'Figure':
    """Draw images and their views, all views of an image in one scale.

    Args:
        samples: At least one.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is missing.
    """
    cells: list[tuple[int, int, str, np.ndarray]] = []
    top = 0
    for sample in samples:
        top = _place(sample, top, cells)
    width = max(left + picture.shape[1] for _, left, _, picture in cells) + _GAP
    canvas = np.full((top, max(width, 400), 3), 255, np.uint8)
    figure = new_figure(canvas.shape[1] / 100, top / 100, dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis('off')
    for row, left, title, picture in cells:
        height, width = picture.shape[:2]
        canvas[row : row + height, left : left + width] = picture
        axis.text(left, row - 4, title, fontsize=8, va='bottom')
    axis.imshow(canvas, interpolation='none')
    return figure


def _place(
    sample: SampleViews, top: int, cells: list[tuple[int, int, str, np.ndarray]]
) -> int:
    """Add the cells (top, left, title, picture) of an image; where the next begins."""
    height, width = sample.image.shape[:2]
    name = figure_text(os.path.basename(sample.name))
    title = f'{name}, {width} × {height} px'
    scale = _SIDE / max(view.shape[0] for _, view in sample.views)
    items = [(title, sample.image, _SIDE / height)]
    items += [(title, view, scale) for title, view in sample.views]
    left, line, row = _GAP, 0, top + _GAP + _TITLE
    before = None
    for title, picture, factor in items:
        size = tuple(max(1, round(factor * side)) for side in picture.shape[1::-1])
        smaller = before is not None and size[1] < before
        if left > _GAP and (smaller or left + size[0] > _WIDTH):
            left, row, line = _GAP, row + line + _TITLE + _GAP // 2, 0
        kind = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BICUBIC
        resized = np.asarray(Image.fromarray(picture).resize(size, kind))
        cells.append((row, left, title, resized))
        room = max(size[0], _ROOM, 5 * len(title))
        left, line, before = left + room + _GAP, max(line, size[1]), size[1]
    return row + line + _GAP
