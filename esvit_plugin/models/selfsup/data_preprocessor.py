"""Augmentation and normalisation of multi-crop batches on the device."""

import math
from collections.abc import Sequence
from typing import Any

from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Tensor

from ...datasets.transforms.device_augment import augment_views


@MODELS.register_module()
class MultiCropDataPreprocessor(SelfSupDataPreprocessor):
    """Moves uint8 views to the device, and finishes and normalises them there.

    mmpretrain's ``SelfSupDataPreprocessor`` takes images (B, 3, H, W) or a list of
    them, one per view. This one also takes what ``MultiCrop`` and the
    ``default_collate`` of mmengine give: one (B, n, 3, S, S) tensor per size of
    view. Of ``DeviceMultiCrop`` it takes one pair per size, [crops (B, n, 3, S, S),
    parameters (B, n, 13)], and augments the crops first, whatever ``training`` says.
    A single image batch, as k-NN evaluation uses, stays a tensor.

    Args:
        mean: Mean of each channel on the 0-255 scale, in the order after
            conversion. Defaults to None, which with ``std=None`` skips this step.
        std: Standard deviation of each channel on the 0-255 scale.
        to_rgb: Whether to swap BGR, as mmcv loads images, to RGB.
            Defaults to False.
        **kwargs: Other options of ``SelfSupDataPreprocessor``.

    Raises:
        ValueError: If a mean is not finite, or a standard deviation not positive and
            finite: every pixel would become NaN or infinite.
    """

    def __init__(
        self,
        mean: Sequence[float | int] | None = None,
        std: Sequence[float | int] | None = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        if mean is not None and not all(map(math.isfinite, mean)):
            raise ValueError(
                f'{name}: every mean must be finite, got mean={list(mean)}; give the '
                "mean of each channel on the 0-255 scale in the config's "
                'data_preprocessor.'
            )
        if std is not None and not all(0 < value < math.inf for value in std):
            raise ValueError(
                f'{name}: every std must be positive and finite, got std={list(std)}; '
                "give that of each channel on the 0-255 scale in the config's "
                'data_preprocessor.'
            )
        super().__init__(mean=mean, std=std, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise a batch.

        Args:
            data: ``inputs`` and, optionally, ``data_samples`` of a batch.
            training: Unused; part of mmengine's interface.

        Returns:
            ``inputs`` on the model's device, normalised float32; ``data_samples`` as
            they are.

        Raises:
            ValueError: If some crops of ``DeviceMultiCrop`` are RGB, others BGR.
        """
        inputs = data['inputs']
        if isinstance(inputs, (list, tuple)):
            inputs = [self._normalize(self._finish(views)) for views in inputs]
        else:
            inputs = self._normalize(self.cast_data(inputs))
        # Labels are read on the CPU, if at all: each would be a copy of its own.
        return dict(inputs=inputs, data_samples=data.get('data_samples'))

    def _finish(self, views: Tensor | Sequence[Tensor]) -> Tensor:
        """Move views of one size to the device, and augment them there if need be."""
        if isinstance(views, Tensor):
            return self.cast_data(views)
        crops, params = views  # the parameters stay, they direct the work
        finished = augment_views(
            self.cast_data(crops).flatten(0, 1), params.flatten(0, 1)
        )
        return finished.unflatten(0, crops.shape[:2])

    def _normalize(self, views: Tensor) -> Tensor:
        if self._channel_conversion:
            views = views.flip(-3)
        views = views.float()
        return (views - self.mean) / self.std if self._enable_normalize else views
