"""What augmentation does to a view, several times faster than Pillow.

Images are uint8 arrays of shape (H, W, 3), with channels in the order 'rgb' or 'bgr'.
A few values differ from Pillow's by one grey level; the tests measure how many.
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
# torch scales with these two filters, antialiased and vectorised. OpenCV antialiases
# with its area filter alone.
TORCH_FILTERS = (InterpolationMode.BICUBIC, InterpolationMode.BILINEAR)
# Pillow drops the fraction of a result, OpenCV rounds it. Subtracting a little less
# than a half before OpenCV rounds gives Pillow's result, and keeps whole numbers.
ROUND_DOWN = 0.499


def resized_crop(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    size: int,
    interpolation: InterpolationMode,
) -> np.ndarray:
    """Cut out a box and scale it to a square, antialiased.

    Args:
        image: The image.
        box: Top, left, height and width in pixels.
        size: Side of the square.
        interpolation: The filter.

    Returns:
        Contiguous uint8 of shape (size, size, 3) that shares no memory with the image.
    """
    top, left, height, width = box
    crop = np.array(image[top : top + height, left : left + width], order='C')
    if interpolation in TORCH_FILTERS:
        scaled = F.interpolate(
            # In memory channels stay last, which the kernel takes without a copy.
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

    Each operation but the hue mixes the image with another one: brightness with black,
    contrast with the mean grey level, saturation with the grey image. So each is one
    3 x 3 matrix on the colours and an offset.

    Args:
        image: The image.
        name: 'brightness', 'contrast', 'saturation' or 'hue'.
        factor: The image's share in the mix; 1 changes nothing. For the hue it is the
            turn as a share of the colour circle, -0.5 to 0.5; 0 changes nothing.
        order: 'rgb' or 'bgr'.
    """
    if name == 'hue':
        return shift_hue(image, factor, order)
    weights = GRAY_WEIGHTS[order]
    offset = -ROUND_DOWN
    if name == 'contrast':
        mean = int(np.dot(cv2.mean(image)[:3], weights) + 0.5)
        offset += (1 - factor) * mean
    matrix = np.full((3, 4), offset)
    matrix[:, :3] = (1 - factor) * weights if name == 'saturation' else 0
    matrix.flat[::5] += factor  # the diagonal
    return cv2.transform(image, matrix)


def hue_steps(factor: float) -> int:
    """Return how far to shift a hue of 0 to 255, rounded as torchvision does."""
    return int(factor * 255)


def shift_hue(image: np.ndarray, factor: float, order: str) -> np.ndarray:
    """Turn all colours around the colour circle.

    Pillow and OpenCV both store a hue in 8 bits. Pillow divides the circle into 255
    steps and drops fractions, OpenCV into 256 and rounds, so a few pixels are off by
    one step.
    """
    hsv = cv2.cvtColor(image, TO_HSV[order])
    row = np.zeros(hsv[0].shape, np.uint8)
    row[:, 0] = round((hue_steps(factor) - 0.5) * 256 / 255) % 256
    # 255 + 1 is 0, as on a circle. Adding whole rows is faster than adding one channel.
    hsv += row
    return cv2.cvtColor(hsv, FROM_HSV[order])


def to_gray(image: np.ndarray, order: str) -> np.ndarray:
    """Turn the image grey, three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, TO_GRAY[order]), cv2.COLOR_GRAY2BGR)


def box_width(radius: float) -> tuple[int, float]:
    """Return the box filter that Pillow applies three times for a Gaussian blur.

    Args:
        radius: The standard deviation of the Gaussian in pixels.

    Returns:
        How many whole pixels the box reaches to each side, and the weight in [0, 1) of
        the pixel after these. Three such boxes have exactly the Gaussian's variance.
    """
    variance = radius * radius / 3
    reach = int((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * reach + 1) * (reach * (reach + 1) - 3 * variance)
    return reach, edge / (6 * (variance - (reach + 1) ** 2))


def blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Blur by three box filters, Pillow's approximation of a Gaussian.

    Args:
        image: The image.
        radius: The standard deviation of the Gaussian in pixels.
    """
    reach, edge = box_width(radius)
    # OpenCV is fastest in single precision.
    box = np.ones(2 * reach + 3, np.float32)
    box[[0, -1]] = edge
    box /= box.sum()
    for _ in range(3):
        image = cv2.sepFilter2D(image, -1, box, box, borderType=cv2.BORDER_REPLICATE)
    return image


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert all values that are at least the threshold."""
    # 255 - x flips all bits of x. As uint8 True is 1, and -1 is 255, all bits set.
    return image ^ -(image >= threshold).view(np.uint8)
