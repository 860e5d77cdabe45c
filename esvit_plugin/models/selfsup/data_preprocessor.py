"""Normalisation of multi-crop batches on the device."""

from typing import Any

from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class MultiCropDataPreprocessor(SelfSupDataPreprocessor):
    """Moves uint8 views to the device and normalises them there.

    mmpretrain's ``SelfSupDataPreprocessor`` takes images (B, 3, H, W) or a list of
    them, one per view. This one also takes what ``MultiCrop`` and the
    ``default_collate`` of mmengine give: one (B, n, 3, S, S) tensor per size of
    view. A single image batch, as k-NN evaluation uses, stays a tensor.

    Args:
        mean: Mean of each channel on the 0-255 scale, in the order after
            conversion. Defaults to None, which with ``std=None`` skips this step.
        std: Standard deviation of each channel on the 0-255 scale.
        to_rgb: Whether to swap BGR, as mmcv loads images, to RGB.
            Defaults to False.
        **kwargs: Other options of ``SelfSupDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise a batch.

        Args:
            data: ``inputs`` and, optionally, ``data_samples`` of a batch.
            training: Unused; part of mmengine's interface.

        Returns:
            The batch on the model's device, ``inputs`` normalised float32.
        """
        data = self.cast_data(data)
        inputs = data['inputs']
        if isinstance(inputs, (list, tuple)):
            inputs = [self._normalize(views) for views in inputs]
        else:
            inputs = self._normalize(inputs)
        return dict(inputs=inputs, data_samples=data.get('data_samples'))

    def _normalize(self, views: Tensor) -> Tensor:
        if self._channel_conversion:
            views = views.flip(-3)
        views = views.float()
        return (views - self.mean) / self.std if self._enable_normalize else views
