"""The law of one group of views: its settings, its draws and how to apply them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode

from . import image_ops

# In the order of the four strengths of ``color_jitter``.
JITTER_OPS = ('brightness', 'contrast', 'saturation', 'hue')
CROP_TRIES = 10


def _numbers(
    name: str, value: Any, count: int, low: float, high: float
) -> tuple[float, ...]:
    """Return ``count`` numbers as a tuple after checking their kind and range."""
    given = tuple(value) if isinstance(value, Sequence) else (value,)
    if len(given) != count or not all(isinstance(x, Real) for x in given):
        wanted = 'a number' if count == 1 else f'{count} numbers'
        raise TypeError(f'{name} must be {wanted}, got {value!r}')
    if not all(low <= x <= high for x in given):
        raise ValueError(f'{name} must lie between {low} and {high}, got {value!r}')
    return given


def _interval(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Return a checked (lowest, highest) pair."""
    lowest, highest = _numbers(name, value, 2, low, high)
    if lowest > highest:
        raise ValueError(f'{name} must be (lowest, highest), got {value!r}')
    return lowest, highest


def from_dict(settings: type, values: Any) -> Any:
    """Build a settings dataclass from a dict, refusing keys it does not have."""
    if not isinstance(values, Mapping):
        raise TypeError(f'{settings.__name__} must be a dict, got {values!r}')
    allowed = [item.name for item in fields(settings)]
    unknown = [key for key in values if key not in allowed]
    if unknown:
        raise ValueError(
            f'{settings.__name__} has no key {unknown}; allowed keys: {allowed}'
        )
    return settings(**values)


@dataclass
class Augment:
    """What may happen to a view after its crop; one field per key of ``augment``.

    Probabilities lie in [0, 1]; ``color_jitter`` holds the strengths of brightness,
    contrast, saturation (each >= 0) and hue (at most 0.5, in turns of the colour
    circle); ``blur_radius`` is in pixels of the view, ``solarize_threshold`` in grey
    levels of 0-255.
    """

    flip_prob: float = 0.5
    color_jitter: tuple[float, ...] = (0.4, 0.4, 0.2, 0.1)
    color_jitter_prob: float = 0.8
    gray_prob: float = 0.2
    blur_prob: float = 0.5
    blur_radius: tuple[float, float] = (0.1, 2.0)
    solarize_prob: float = 0.0
    solarize_threshold: float = 128

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name.endswith('_prob'):
                _numbers(item.name, getattr(self, item.name), 1, 0, 1)
        self.color_jitter = _numbers('color_jitter', self.color_jitter, 4, 0, math.inf)
        _numbers('the hue of color_jitter', self.color_jitter[3], 1, 0, 0.5)
        self.blur_radius = _interval('blur_radius', self.blur_radius, 0, math.inf)
        _numbers('solarize_threshold', self.solarize_threshold, 1, 0, 256)


@dataclass(frozen=True)
class ViewDraw:
    """Everything random about one view; lengths in pixels of the source image.

    ``jitter`` lists the colour operations in the order to apply, with their factors;
    ``blur_radius`` is None where the view is not blurred.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool
    jitter: tuple[tuple[str, float], ...]
    gray: bool
    blur_radius: float | None
    solarize: bool


@dataclass
class ViewGroup:
    """Views drawn by one law; one field per key of an entry of ``views``."""

    size: int = 224
    scale: tuple[float, float] = (0.4, 1.0)
    num_views: int = 1
    augment: Augment = field(default_factory=Augment)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name in ('size', 'num_views'):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f'{name} must be a positive integer, got {value!r}')
        self.scale = _interval('scale', self.scale, 0, 1)
        self.ratio = _interval('ratio', self.ratio, 0.01, 100)
        if not isinstance(self.augment, Augment):
            self.augment = from_dict(Augment, self.augment)
        self._log_ratio = np.log(self.ratio)

    def _draw_box(
        self, rng: np.random.Generator, height: int, width: int
    ) -> tuple[int, int, int, int]:
        """Draw a crop (top, left, height, width) by RandomResizedCrop's law.

        The share of the area is uniform, the aspect ratio log-uniform; boxes that do
        not fit are drawn again, and after ten of them the largest central box of an
        allowed ratio is taken.
        """
        for _ in range(CROP_TRIES):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(*self._log_ratio))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = int(rng.integers(height - h + 1))
                return top, int(rng.integers(width - w + 1)), h, w
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w = max(1, min(width, round(height * ratio)))
        h = max(1, min(height, round(width / ratio)))
        return (height - h) // 2, (width - w) // 2, h, w

    def draw(self, rng: np.random.Generator, height: int, width: int) -> ViewDraw:
        """Draw the parameters of one view of a ``height`` x ``width`` image."""
        augment = self.augment
        top, left, h, w = self._draw_box(rng, height, width)
        flip = rng.random() < augment.flip_prob
        jitter: list[tuple[str, float]] = []
        if rng.random() < augment.color_jitter_prob:
            for i in rng.permutation(len(JITTER_OPS)):
                name, strength = JITTER_OPS[i], augment.color_jitter[i]
                middle, low = (0, -0.5) if name == 'hue' else (1, 0)
                if strength > 0:
                    lowest = max(low, middle - strength)
                    jitter.append((name, rng.uniform(lowest, middle + strength)))
        gray = rng.random() < augment.gray_prob
        blur = rng.random() < augment.blur_prob
        radius = rng.uniform(*augment.blur_radius) if blur else None
        solarize = rng.random() < augment.solarize_prob
        return ViewDraw(top, left, h, w, flip, tuple(jitter), gray, radius, solarize)

    def apply(
        self,
        image: np.ndarray | Image.Image,
        draw: ViewDraw,
        interpolation: InterpolationMode = InterpolationMode.BICUBIC,
        channel_order: str = 'rgb',
    ) -> np.ndarray:
        """Make the view ``draw`` of an image.

        Args:
            image: uint8 of shape (H, W, 3).
            draw: What to do.
            interpolation: The resampling filter. Defaults to bicubic.
            channel_order: 'rgb' (default) or 'bgr', of image and view alike.

        Returns:
            uint8 of shape (size, size, 3).
        """
        view = self.crop(np.asarray(image), draw, interpolation)
        if draw.flip:
            view = cv2.flip(view, 1)
        for name, factor in draw.jitter:
            view = image_ops.adjust(view, name, factor, channel_order)
        if draw.gray:
            view = image_ops.to_gray(view, channel_order)
        if draw.blur_radius is not None:
            view = image_ops.blur(view, draw.blur_radius)
        if draw.solarize:
            view = image_ops.solarize(view, self.augment.solarize_threshold)
        return view

    def crop(
        self, image: np.ndarray, draw: ViewDraw, interpolation: InterpolationMode
    ) -> np.ndarray:
        """Cut and scale the view ``draw``, and leave the rest to others."""
        box = (draw.top, draw.left, draw.height, draw.width)
        return image_ops.resized_crop(image, box, self.size, interpolation)
