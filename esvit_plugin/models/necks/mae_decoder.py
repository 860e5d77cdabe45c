"""The decoder of MAE-lite."""

from mmpretrain.models.necks import MAEPretrainDecoder
from mmpretrain.registry import MODELS

from ..backbones.mae_vit import mae_positions


@MODELS.register_module()
class MAELiteDecoder(MAEPretrainDecoder):
    """mmpretrain's ``MAEPretrainDecoder`` with MAE's positions.

    Args:
        **kwargs: Options of ``MAEPretrainDecoder``. MAE-lite's is one block of half
            the encoder's width.
    """

    def init_weights(self) -> None:
        """Draw the weights, and compute the fixed positions."""
        super().init_weights()
        width = self.decoder_pos_embed.shape[-1]
        positions = mae_positions(round(self.num_patches**0.5), width)
        self.decoder_pos_embed.data.copy_(positions)
