"""The operations of a view on uint8 arrays: Pillow's results, several times faster.

Arrays have the shape (H, W, 3) and channels in the order 'rgb' or 'bgr'. Results differ
from Pillow's by a grey level here and there, as the tests measure.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode

GRAY_WEIGHTS = {
    'rgb': np.array([0.299, 0.587, 0.114]),
    'bgr': np.array([0.114, 0.587, 0.299]),
}
TO_HSV = {'rgb': cv2.COLOR_RGB2HSV_FULL, 'bgr': cv2.COLOR_BGR2HSV_FULL}
FROM_HSV = {'rgb': cv2.COLOR_HSV2RGB_FULL, 'bgr': cv2.COLOR_HSV2BGR_FULL}
TO_GRAY = {'rgb': cv2.COLOR_RGB2GRAY, 'bgr': cv2.COLOR_BGR2GRAY}
# torch has vectorised, antialiased kernels for these two; OpenCV has none that
# antialias, save for its area filter.
TORCH_FILTERS = (InterpolationMode.BICUBIC, InterpolationMode.BILINEAR)
# Pillow cuts fractions off, OpenCV rounds: just under a half takes the one to the
# other, and leaves whole numbers alone.
CUT = 0.499


def resized_crop(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    size: int,
    interpolation: InterpolationMode,
) -> np.ndarray:
    """Cut the box (top, left, height, width) out and scale it, antialiased.

    Returns:
        Contiguous uint8 of shape (size, size, 3), memory of its own.
    """
    top, left, height, width = box
    crop = np.array(image[top : top + height, left : left + width], order='C')
    if interpolation in TORCH_FILTERS:
        scaled = F.interpolate(
            # Channels last, which the kernel takes as it is.
            torch.from_numpy(crop)[None].permute(0, 3, 1, 2),
            size=(size, size),
            mode=interpolation.value,
            antialias=True,
        )
        return np.ascontiguousarray(scaled[0].permute(1, 2, 0).numpy())
    resample = Image.Resampling[interpolation.name]
    return np.array(Image.fromarray(crop).resize((size, size), resample))


def adjust(image: np.ndarray, name: str, factor: float, order: str) -> np.ndarray:
    """Apply one operation of colour jitter.

    Brightness blends with black, contrast with the mean grey level, saturation with
    the grey image: each is a matrix on colours, with an offset.

    Args:
        image: The image.
        name: 'brightness', 'contrast', 'saturation' or 'hue'.
        factor: 1 changes nothing; for the hue, a part of the colour circle from -0.5
            to 0.5, of which 0 changes nothing.
        order: 'rgb' or 'bgr'.
    """
    if name == 'hue':
        return shift_hue(image, factor, order)
    weights = GRAY_WEIGHTS[order]
    offset = -CUT
    if name == 'contrast':
        mean = int(np.dot(cv2.mean(image)[:3], weights) + 0.5)
        offset += (1 - factor) * mean
    matrix = np.full((3, 4), offset)
    matrix[:, :3] = (1 - factor) * weights if name == 'saturation' else 0
    matrix.flat[::5] += factor  # the diagonal
    return cv2.transform(image, matrix)


def hue_steps(factor: float) -> int:
    """Return the shift of a hue stored in 8 bits, as torchvision rounds it."""
    return int(factor * 255)


def shift_hue(image: np.ndarray, factor: float, order: str) -> np.ndarray:
    """Turn the colours; the hue is stored in 8 bits, in Pillow as here.

    Pillow divides the circle by 255 and cuts fractions off, OpenCV divides it by 256
    and rounds, so the colours of few pixels differ by a step.
    """
    hsv = cv2.cvtColor(image, TO_HSV[order])
    row = np.zeros(hsv[0].shape, np.uint8)
    row[:, 0] = round((hue_steps(factor) - 0.5) * 256 / 255) % 256
    hsv += row  # wraps around; as whole rows, since single channels add slowly
    return cv2.cvtColor(hsv, FROM_HSV[order])


def to_gray(image: np.ndarray, order: str) -> np.ndarray:
    """Turn the image grey, three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, TO_GRAY[order]), cv2.COLOR_GRAY2BGR)


def box_width(radius: float) -> tuple[int, float]:
    """Return the box of which Pillow's Gaussian blur is three.

    Args:
        radius: The standard deviation of the Gaussian in pixels.

    Returns:
        How many whole pixels the box reaches to either side, and the weight in
        [0, 1) of the next one; chosen such that the variance is exact.
    """
    variance = radius * radius / 3
    reach = int((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * reach + 1) * (reach * (reach + 1) - 3 * variance)
    return reach, edge / (6 * (variance - (reach + 1) ** 2))


def blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Blur by Pillow's approximation of a Gaussian, its three boxes."""
    reach, edge = box_width(radius)
    # Single precision: OpenCV has fast kernels for it.
    box = np.ones(2 * reach + 3, np.float32)
    box[[0, -1]] = edge
    box /= box.sum()
    for _ in range(3):
        image = cv2.sepFilter2D(image, -1, box, box, borderType=cv2.BORDER_REPLICATE)
    return image


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert all values from the threshold on."""
    # Inverting is flipping all bits, which the minus makes of a true.
    return image ^ -(image >= threshold).view(np.uint8)
