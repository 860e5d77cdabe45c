"""What ``DeviceMultiCrop`` leaves to the device: augmentation of whole batches."""

from collections.abc import Callable

import torch
from torch import Tensor

from . import device_multi_crop as columns
from .image_ops import GRAY_WEIGHTS, box_width
from .view_group import JITTER_OPS

HUE, SATURATION, CONTRAST = (
    1 + JITTER_OPS.index(name) for name in ('hue', 'saturation', 'contrast')
)


@torch.no_grad()
def augment_views(crops: Tensor, params: Tensor) -> Tensor:
    """Flip, jitter, grey, blur and solarise each view by its own parameters.

    In the order and with the rounding of ``MultiCrop``, except that a blurred view is
    not rounded. Which views need what is decided on the CPU, so the device is never
    waited for.

    Args:
        crops: uint8 of shape (N, 3, S, S), on any device.
        params: The columns of ``DeviceMultiCrop``, shape (N, 13), on the CPU.

    Returns:
        float32 of the shape of ``crops``, values of 0-255.

    Raises:
        ValueError: If some crops are RGB and others BGR.
    """
    if params[:, columns.IS_RGB].unique().numel() > 1:
        raise ValueError(
            'The batch mixes crops in RGB and in BGR: give all DeviceMultiCrop '
            'transforms of the data set one channel_order'
        )
    order = 'rgb' if params[0, columns.IS_RGB] else 'bgr'
    # Full precision: half precision does not hold 0-255 in steps of one after a blur.
    with torch.autocast(crops.device.type, enabled=False):
        views = crops.float()
        _change(views, params[:, columns.FLIP] > 0, lambda views: views.flip(-1))
        steps = zip(
            params[:, columns.OPERATIONS].unbind(1),
            params[:, columns.FACTORS].unbind(1),
            strict=True,
        )
        for kind, factor in steps:
            is_hue = kind == HUE
            _change(views, is_hue, lambda x, f: _shift_hue(x, f, order), factor)
            _change(
                views,
                (kind > 0) & ~is_hue,
                lambda x, f, c, s: _blend(x, f, c, s, order),
                factor,
                kind == CONTRAST,
                kind == SATURATION,
            )
        _change(views, params[:, columns.GRAY] > 0, lambda x: _gray(x, order))
        radius = params[:, columns.BLUR_RADIUS]
        reach, edge = params.new_tensor([box_width(r) for r in radius.tolist()]).T
        _change(views, radius > 0, _blur, reach, edge)
        start = params[:, columns.SOLARIZE_FROM]
        _change(views, start < columns.NEVER, _solarize, start)
    return views


def _change(
    views: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *values: Tensor
) -> None:
    """Put ``operation(views, *values)`` in the place of the chosen views.

    Args:
        views: Shape (N, 3, S, S), changed in place.
        chosen: Mask of shape (N,), on the CPU.
        operation: Takes n views and the n values of each, (n, 1, 1, 1).
        *values: Of shape (N,), on the CPU.
    """
    index = chosen.nonzero()[:, 0]
    if not len(index):
        return
    given = [
        value[index].float().view(-1, 1, 1, 1).to(views.device, non_blocking=True)
        for value in values
    ]
    index = index.to(views.device, non_blocking=True)
    views.index_copy_(0, index, operation(views.index_select(0, index), *given))


def _gray(views: Tensor, order: str) -> Tensor:
    """Grey level of each pixel, shape (n, 1, S, S) expanded to that of ``views``."""
    r, g, b = (float(weight) for weight in GRAY_WEIGHTS[order])
    gray = (r * views[:, :1]).add_(views[:, 1:2], alpha=g).add_(views[:, 2:], alpha=b)
    return gray.round_().expand_as(views)


def _blend(
    views: Tensor, factor: Tensor, contrast: Tensor, saturation: Tensor, order: str
) -> Tensor:
    """Blend with black, the mean grey level (contrast) or the grey image."""
    gray = _gray(views, order)[:, :1]
    mean = (gray.mean((1, 2, 3), keepdim=True) + 0.5).floor_()
    base = contrast * mean + saturation * gray
    return (views - base).mul_(factor).add_(base).clamp_(0, 255).floor_()


def _shift_hue(views: Tensor, steps: Tensor, order: str) -> Tensor:
    """Turn the colours by steps of 1/255, hue and saturation in whole 8-bit steps."""
    red, green, blue = views.unbind(1)[:: 1 if order == 'rgb' else -1]
    high, low = views.amax(1), views.amin(1)
    spread = high - low
    from_red, from_green, from_blue = (
        (high - channel) / spread.clamp(min=1) for channel in (red, green, blue)
    )
    sixths = torch.where(
        red == high,
        from_blue - from_green,
        torch.where(green == high, 2 + from_red - from_blue, 4 + from_green - from_red),
    )
    hue = ((sixths / 6 + 1) % 1 * 255).floor_() + steps[:, 0]
    sixths = hue % 256 * (6 / 255)
    strength = (spread / high.clamp(min=1) * 255).floor_() / 255 * high
    turned = []
    for offset in (5, 3, 1) if order == 'rgb' else (1, 3, 5):
        place = (sixths + offset) % 6
        part = torch.minimum(place, 4 - place).clamp_(0, 1)
        turned.append((high - strength * part).round_())
    return torch.stack(turned, 1)


def _blur(views: Tensor, reach: Tensor, edge: Tensor) -> Tensor:
    """Three boxes along rows and along columns, as products with a matrix.

    A box takes whole pixels up to ``reach`` to either side and ``edge`` of the next;
    what lies outside of the view is the pixel at its border.
    """
    size = views.shape[-1]
    place = torch.arange(size, device=views.device, dtype=views.dtype)
    distance = (place[:, None] - place).abs()
    reach, edge = reach[:, 0], edge[:, 0]  # (n, 1, 1)
    box = (distance <= reach).to(views.dtype)
    box += edge * (distance == reach + 1)
    # How much of a pixel's box lies before the first pixel; mirrored, after the last.
    outside = ((reach - place).clamp(min=0) + edge * (place <= reach))[:, 0]
    box[:, :, 0] += outside
    box[:, :, -1] += outside.flip(1)
    box /= 2 * (reach + edge) + 1
    blur = (box @ box @ box)[:, None]
    return blur @ views @ blur.mT


def _solarize(views: Tensor, start: Tensor) -> Tensor:
    """Invert all values from ``start`` on."""
    return torch.where(views < start, views, 255 - views)
