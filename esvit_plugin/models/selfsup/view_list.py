"""Views of ``MultiCrop`` for the methods of mmpretrain."""

from typing import Any

from mmpretrain.registry import MODELS

from .data_preprocessor import MultiCropDataPreprocessor


@MODELS.register_module()
class ViewListDataPreprocessor(MultiCropDataPreprocessor):
    """Gives each view of an image a tensor of its own.

    ``MultiCrop`` has one tensor (B, n, 3, S, S) per size of view, which ``EsViT``
    takes as it is. ``MoCoV3`` and mmpretrain's other contrastive methods take a list
    of images (B, 3, S, S), one per view, as its ``MultiView`` gives; with this they
    train on ``MultiCrop``. For its arguments see ``MultiCropDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise a batch, and split its views.

        Args:
            data: ``inputs`` and, optionally, ``data_samples`` of a batch.
            training: Unused; part of mmengine's interface.

        Returns:
            The batch on the model's device; ``inputs`` is a list of normalised
            float32 views (B, 3, S, S), in the order of ``MultiCrop``. Images that
            are no list, as k-NN evaluation uses, stay one tensor (B, 3, H, W).
        """
        batch = super().forward(data, training)
        if isinstance(batch['inputs'], list):
            batch['inputs'] = [
                view for group in batch['inputs'] for view in group.unbind(1)
            ]
        return batch
