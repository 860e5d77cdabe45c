"""Views made the plain way, by torchvision's operations on Pillow images."""

import numpy as np
import torchvision.transforms.functional as TF
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode

from esvit_plugin.datasets.transforms.view_group import ViewDraw

JITTER = {
    'brightness': TF.adjust_brightness,
    'contrast': TF.adjust_contrast,
    'saturation': TF.adjust_saturation,
    'hue': TF.adjust_hue,
}


def photo(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """A smooth random image: neither constant nor pure noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    size = (width, height)
    return np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))


def plain_draw(**changes) -> ViewDraw:
    """A view of the box at (5, 7) of 40 x 50 pixels, to which nothing else happens."""
    settings = dict(
        top=5, left=7, height=40, width=50, flip=False, jitter=(), gray=False
    )
    return ViewDraw(**{**settings, 'blur_radius': None, 'solarize': False, **changes})


def plain_view(
    image: np.ndarray,
    draw: ViewDraw,
    size: int,
    threshold: float = 128,
    interpolation: InterpolationMode = InterpolationMode.BICUBIC,
) -> np.ndarray:
    """The whole chain on an RGB image; uint8 of shape (size, size, 3)."""
    view = TF.resized_crop(
        Image.fromarray(image),
        draw.top,
        draw.left,
        draw.height,
        draw.width,
        [size, size],
        interpolation,
    )
    if draw.flip:
        view = TF.hflip(view)
    for name, factor in draw.jitter:
        view = JITTER[name](view, factor)
    if draw.gray:
        view = TF.to_grayscale(view, num_output_channels=3)
    if draw.blur_radius is not None:
        view = view.filter(ImageFilter.GaussianBlur(draw.blur_radius))
    if draw.solarize:
        view = TF.solarize(view, threshold)
    return np.asarray(view)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())
