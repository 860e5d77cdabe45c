"""A plain vision transformer whose first blocks stay frozen while others train."""

from mmpretrain.models.backbones import VisionTransformer


class FreezableVisionTransformer(VisionTransformer):
    """mmpretrain's ``VisionTransformer``, whose frozen parts stay so in training.

    Its own ``train`` takes them back into training mode, where stochastic depth leaves
    frozen blocks out and batch norms of a stem move, and returns None.
    """

    def train(self, mode: bool = True) -> 'FreezableVisionTransformer':
        """Switch the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.frozen_stages > 0:
            self._freeze_stages()
        return self
