"""Multi-crop whose workers only cut; the device does the rest."""

from typing import Any

import numpy as np
import torch
from mmpretrain.registry import TRANSFORMS

from .image_ops import hue_steps
from .multi_crop import MultiCrop
from .view_group import JITTER_OPS, ViewDraw, ViewGroup

# The columns of a view's parameters. Colour operations come in the order to apply:
# what (0: nothing, or 1 + the place in JITTER_OPS) and by which factor; the factor of
# the hue is in steps of 1/255 turn.
FLIP, GRAY, BLUR_RADIUS, SOLARIZE_FROM, IS_RGB = range(5)
OPERATIONS, FACTORS = slice(5, 9), slice(9, 13)
NUM_COLUMNS = 13
NEVER = 256.0  # no value is as high


def to_row(group: ViewGroup, draw: ViewDraw, is_rgb: bool) -> list[float]:
    """Write what happens to a view after its crop as one row of numbers."""
    row = [0.0] * NUM_COLUMNS
    row[FLIP], row[GRAY], row[IS_RGB] = draw.flip, draw.gray, is_rgb
    row[BLUR_RADIUS] = draw.blur_radius or 0.0
    row[SOLARIZE_FROM] = group.augment.solarize_threshold if draw.solarize else NEVER
    for i, (name, factor) in enumerate(draw.jitter):
        row[OPERATIONS.start + i] = 1 + JITTER_OPS.index(name)
        row[FACTORS.start + i] = hue_steps(factor) if name == 'hue' else factor
    return row


@TRANSFORMS.register_module()
class DeviceMultiCrop(MultiCrop):
    """``MultiCrop`` for few CPU cores: augments on the device, in whole batches.

    The transform only cuts and scales; ``MultiCropDataPreprocessor`` flips, jitters,
    greys, blurs, solarises and normalises each view by the parameters drawn for it.
    Draws are those of ``MultiCrop`` for equal seed, epoch and ``sample_idx``, and views
    lie within a grey level of its views on average, so ``type`` is all to change::

        dict(type='LoadImage', on_error='skip', min_side=500),
        dict(type='DeviceMultiCrop'),  # in place of MultiCrop
        dict(type='PackInputs'),

    or, for a whole config with the paper's pipeline, on the command line:
    ``--cfg-options train_dataloader.dataset.pipeline.1.type=DeviceMultiCrop``.

    Options, errors and required keys are those of ``MultiCrop``. Modified keys:
    ``img``, a list with one pair [crops, parameters] per distinct size: crops uint8 of
    shape (views, 3, size, size), parameters float64 of shape (views, 13), on the CPU;
    ``img_shape``, the (height, width) of the global views. ``default_collate`` stacks
    the pairs to (B, views, 3, size, size) and (B, views, 13).
    """

    def _views(
        self, image: np.ndarray, draws: list[tuple[ViewGroup, ViewDraw]]
    ) -> list[Any]:
        """Cut the views of an image; one pair of crops and parameters per size."""
        crops = self._stack(
            (group.size, group.crop(image, draw, self.interpolation))
            for group, draw in draws
        )
        rows: dict[int, list[list[float]]] = {size: [] for size in self.sizes}
        for group, draw in draws:
            rows[group.size].append(to_row(group, draw, self.channel_order == 'rgb'))
        params = [torch.tensor(same, dtype=torch.float64) for same in rows.values()]
        return [list(pair) for pair in zip(crops, params, strict=True)]
