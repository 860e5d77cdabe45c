"""Multi-crop augmentation: several random views of one image."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from torchvision.transforms import InterpolationMode

from .view_group import ViewDraw, ViewGroup, from_dict

FILTERS = ('bicubic', 'bilinear', 'box', 'hamming', 'lanczos', 'nearest')
PAPER_VIEWS = (
    dict(size=224, scale=(0.4, 1.0), augment=dict(blur_prob=1.0)),
    dict(size=224, scale=(0.4, 1.0), augment=dict(blur_prob=0.1, solarize_prob=0.2)),
    dict(size=96, scale=(0.05, 0.4), num_views=8, augment=dict(blur_prob=0.5)),
)


@TRANSFORMS.register_module()
class MultiCrop(BaseTransform):
    """Cut an image into augmented views of several sizes (Section 4; DINO).

    Each view is a random resized crop, then maybe flipped, colour-jittered (the four
    operations in random order), turned grey, blurred and solarised, in this order.
    The views of the first size are the *global* ones, which the teacher sees too.

    Required key: ``img``, uint8 of shape (H, W, 3), or (H, W) or (H, W, 1) for a grey
    image, which is replicated. Also ``sample_idx`` once :meth:`set_epoch` was called.
    Optional key: ``item_idx``, its index among all that are joined or repeated.
    Modified keys: ``img``, a list with one contiguous uint8 tensor of shape
    (views, 3, size, size) per distinct size, in order of first appearance, channels in
    the order of the input; ``img_shape``, the (height, width) of the global views.
    ``PackInputs`` leaves such a list alone, and ``default_collate`` stacks it to
    (B, views, 3, size, size) per size.

    Crops are scaled by torch's vectorised kernels, the rest is done by OpenCV: over
    four times as fast as torchvision's transforms of Pillow images
    (``benchmarks/multi_crop.py``), and on average within a grey level of them.
    ``DeviceMultiCrop`` leaves all but the crops to the device.

    Views are a function of (seed, epoch, ``sample_idx``) alone once :meth:`set_epoch`
    was called, so neither the number of workers or processes nor a resumed run
    changes them. The copies of an image in a ``RepeatDataset`` or the like differ by
    ``item_idx``, which ``RandomStateHook`` adds. Before that call, they come from
    numpy's global state, as in other transforms. A deep copy or an unpickled copy has
    its own seed and epoch; a data loader's workers share the original's, whether
    forked or spawned.

    Args:
        views: One dict per group of views, with the keys ``size`` (side in pixels,
            default 224), ``scale`` (share of the source's area, default (0.4, 1)),
            ``num_views`` (default 1), ``ratio`` (width / height, default (3/4, 4/3))
            and ``augment``, a dict with any of ``flip_prob`` 0.5,
            ``color_jitter`` (0.4, 0.4, 0.2, 0.1) for brightness, contrast, saturation
            and hue, ``color_jitter_prob`` 0.8, ``gray_prob`` 0.2, ``blur_prob`` 0.5,
            ``blur_radius`` (0.1, 2.0) in pixels, ``solarize_prob`` 0 and
            ``solarize_threshold`` 128. Defaults to the paper's 2 global views of
            224 pixels and 8 local ones of 96.
        channel_order: 'bgr' (default, as ``LoadImage`` gives) or 'rgb', of input and
            output alike.
        interpolation: Pillow's name of the resampling filter: 'bicubic' (default),
            'bilinear', 'box', 'hamming' or 'lanczos', all antialiased, or 'nearest'.

    Raises:
        ValueError: If a key is unknown, a value out of range, there are fewer than 2
            global views, or the global views are not the largest.
        TypeError: If a value is of the wrong kind.

    Attributes:
        sizes: The distinct view sizes in pixels, global first.
        num_views: The number of views of each of ``sizes``.
    """

    def __init__(
        self,
        views: Sequence[Mapping[str, Any]] | None = None,
        channel_order: str = 'bgr',
        interpolation: str = 'bicubic',
    ) -> None:
        name = type(self).__name__
        if channel_order not in ('bgr', 'rgb'):
            raise ValueError(
                f"{name}'s channel_order must be 'bgr' or 'rgb', got {channel_order!r}"
            )
        if interpolation not in FILTERS:
            raise ValueError(
                f"{name}'s interpolation must be one of {FILTERS}, got "
                f'{interpolation!r}'
            )
        self.channel_order = channel_order
        self.interpolation = InterpolationMode(interpolation)
        self.groups: list[ViewGroup] = []
        for i, values in enumerate(PAPER_VIEWS if views is None else views):
            try:
                self.groups.append(from_dict(ViewGroup, values))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name}'s views[{i}]: {error}") from None
        counts: dict[int, int] = {}
        for group in self.groups:
            counts[group.size] = counts.get(group.size, 0) + group.num_views
        self.sizes, self.num_views = list(counts), list(counts.values())
        if sum(self.num_views[:1]) < 2:
            raise ValueError(
                f'{name} needs at least 2 global views (views of the size of the '
                f'first group), got {sum(self.num_views[:1])}: raise num_views of '
                'views[0] or add a group of its size'
            )
        if self.sizes[0] != max(self.sizes):
            raise ValueError(
                f'The first view group of {name} is the global one and must be the '
                f'largest, got sizes {self.sizes}: put the largest size first'
            )
        # (seed, epoch) in shared memory, where the processes of a data loader see the
        # main process change it; -1 says that set_epoch was not called yet.
        self._clock = torch.full((2,), -1, dtype=torch.int64, device='cpu')
        self._clock.share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy, whose own clock must be in shared memory again."""
        self.__dict__.update(state)
        self._clock.share_memory_()

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Make the views of the coming epoch a function of seed, epoch and sample.

        Call it in the main process before iterating over the data loader; persistent
        workers notice it too.

        Args:
            seed: The seed of the run, from 0 to 2**63 - 1; the same on all processes.
            epoch: The epoch, from 0.

        Raises:
            TypeError: If either is no integer.
            ValueError: If either is negative or too large.
        """
        for name, value in (('seed', seed), ('epoch', epoch)):
            if not isinstance(value, Integral):
                raise TypeError(
                    f"MultiCrop.set_epoch's {name} must be an integer, got {value!r}"
                )
            if not 0 <= value < 2**63:
                raise ValueError(
                    f"MultiCrop.set_epoch's {name} must lie between 0 and 2**63 - 1, "
                    f'got {value!r}'
                )
        self._clock.copy_(torch.tensor([int(seed), int(epoch)]))

    def _generator(self, results: dict) -> np.random.Generator:
        """Return the source of everything random about one sample."""
        seed, epoch = self._clock.tolist()
        if epoch < 0:
            return np.random.default_rng(np.random.randint(2**31))
        if 'sample_idx' not in results:
            raise KeyError(
                "MultiCrop.set_epoch was called, so every sample needs 'sample_idx' "
                f'(mmengine data sets set it); got only {sorted(results)}'
            )
        # Two words for each number: of numbers as they are, numpy would take as many
        # words as each needs, and different triples could give the same words.
        words = [seed, epoch, results['sample_idx']]
        if 'item_idx' in results:
            words.append(results['item_idx'])
        key = np.array(words, dtype='<u8')
        return np.random.default_rng(key.view('<u4'))

    def _image(self, results: dict) -> np.ndarray:
        """Return the sample's image, (H, W, 3) in ``channel_order``."""
        img = results.get('img')
        origin = (
            f'{type(self).__name__}, img_path={results.get("img_path", "unknown")!r}'
        )
        if not isinstance(img, np.ndarray) or img.dtype != np.uint8:
            kind = img.dtype if isinstance(img, np.ndarray) else type(img).__name__
            raise TypeError(
                f'{origin}: img must be a uint8 array, got {kind}. Load it with '
                'LoadImage and to_float32=False, and normalise it in the data '
                'preprocessor of the model'
            )
        if img.ndim == 3 and img.shape[2] == 1:
            img = img[..., 0]
        if img.ndim not in (2, 3) or img.shape[2:] not in ((), (3,)) or not img.size:
            raise ValueError(
                f'{origin}: img must have the shape (H, W, 3), (H, W, 1) or (H, W), '
                f"got {img.shape}. Load it with color_type='color'"
            )
        return img if img.ndim == 3 else np.repeat(img[..., None], 3, axis=2)

    def draw(
        self, rng: np.random.Generator, height: int, width: int
    ) -> list[tuple[ViewGroup, ViewDraw]]:
        """Draw all views of a ``height`` x ``width`` image, in the order of views."""
        groups = [group for group in self.groups for _ in range(group.num_views)]
        return [(group, group.draw(rng, height, width)) for group in groups]

    def transform(self, results: dict) -> dict:
        """Replace the image by its views.

        Args:
            results: The sample, see the class for its keys.

        Returns:
            The same dict, changed in place.

        Raises:
            KeyError: If ``sample_idx`` is missing after :meth:`set_epoch`.
            TypeError: If the image is no uint8 array.
            ValueError: If its shape is none of those allowed.
        """
        image = self._image(results)
        draws = self.draw(self._generator(results), *image.shape[:2])
        results['img'] = self._views(image, draws)
        results['img_shape'] = (self.sizes[0], self.sizes[0])
        return results

    def _views(
        self, image: np.ndarray, draws: list[tuple[ViewGroup, ViewDraw]]
    ) -> list[Any]:
        """Make the views of an image, one item per size."""
        return self._stack(
            (
                group.size,
                group.apply(image, draw, self.interpolation, self.channel_order),
            )
            for group, draw in draws
        )

    def _stack(self, views: Iterable[tuple[int, np.ndarray]]) -> list[torch.Tensor]:
        """Stack pairs of size and view, by size: (views, 3, size, size) each."""
        planes: dict[int, list[np.ndarray]] = {size: [] for size in self.sizes}
        for size, view in views:
            planes[size] += cv2.split(view)
        return [
            torch.from_numpy(np.stack(same)).unflatten(0, (-1, 3))
            for same in planes.values()
        ]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(views={self.groups}, '
            f'channel_order={self.channel_order!r}, '
            f'interpolation={self.interpolation.value!r})'
        )
