"""A backbone of any origin as evaluations see it: images in, frozen features out."""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..models.backbones.timm_module import wrap_timm
from ..models.checks import check_normalised
from ..models.last_blocks import has_blocks, pool_last_blocks
from ..models.view_and_regions import split_features, take_view

FEATURES = ('pooled', 'last_blocks')


class FrozenBackbone(BaseModel):
    """A backbone in evaluation mode, and the normalisation that it was trained with.

    ``esvit_plugin.load_backbone`` makes one of a config and a checkpoint.

    Args:
        backbone: The backbone: one of mmpretrain or of this package, a
            ``TIMMBackbone``, or a model of timm, whose classifier is taken off.
        data_preprocessor: The normalisation, a module or its config.
        network: What it is, for titles: 'teacher' or 'student' of an ``EsViT``, or
            'backbone'. Defaults to 'backbone'.
        bit_depth: ``LoadImage``'s in the training, for images to evaluate. Defaults to
            None.
    """

    def __init__(
        self,
        backbone: Any,
        data_preprocessor: nn.Module | dict,
        network: str = 'backbone',
        bit_depth: int | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        backbone = wrap_timm(backbone)
        self.backbone = backbone
        self.network = network
        self.bit_depth = bit_depth
        out_types = getattr(backbone, 'OUT_TYPES', ())
        if getattr(backbone, 'out_type', None) == 'cls_token' and 'raw' in out_types:
            # The class token is still the first, and now the regions follow.
            backbone.out_type = 'raw'
        if 'mask' in inspect.signature(backbone.forward).parameters:
            # Those of masked image modelling hide patches unless told not to.
            backbone.forward = partial(backbone.forward, mask=None)
        self.requires_grad_(False)
        self.eval()

    def forward(
        self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor'
    ) -> Tensor:
        """Views (B, C) of normalised images; the other arguments are mmengine's."""
        return self.extract_feat(inputs)

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Features of whole images.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).

        Returns:
            Tensor of shape (B, C): the class token, the mean of the last map, or what
            the backbone itself has pooled.

        Raises:
            ValueError: If the images are uint8, or the backbone takes none of this
                size.
        """
        with self.checked(inputs):
            return take_view(self.backbone, self.backbone(inputs))

    @torch.no_grad()
    def extract_regions(self, inputs: Tensor) -> Tensor:
        """Features of the positions of the last map, row by row.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).

        Returns:
            Tensor of shape (B, T, C).

        Raises:
            ValueError: If the images are uint8, the backbone takes none of this size,
                or it gives no map; the message says what to set.
        """
        with self.checked(inputs):
            return split_features(self.backbone, self.backbone(inputs))[1]

    def feature_function(
        self, features: str = 'pooled', num_blocks: int = 4
    ) -> Callable[[Tensor], Tensor]:
        """The features that a probe takes.

        Args:
            features: 'pooled', those of ``extract_feat``, or 'last_blocks', the pooled
                outputs of the last blocks, as the paper's linear evaluation takes
                them. Defaults to 'pooled'.
            num_blocks: How many of the last blocks. Defaults to 4.

        Returns:
            Function from normalised images (B, 3, H, W) to features (B, C).

        Raises:
            ValueError: If there are no such features, or not so many blocks.
        """
        if features not in FEATURES:
            raise ValueError(f'features must be one of {FEATURES}, got {features!r}.')
        if features == 'pooled':
            return self.extract_feat
        if not has_blocks(self.backbone):
            print_log(
                f'The blocks of a {type(self.backbone).__name__} are not known: its '
                'pooled last map is taken instead of its last blocks.',
                'current',
                level=logging.WARNING,
            )

        @torch.no_grad()
        def pool(inputs: Tensor) -> Tensor:
            with self.checked(inputs):
                return pool_last_blocks(self.backbone, inputs, num_blocks)

        return pool

    @contextlib.contextmanager
    def checked(self, inputs: Tensor) -> Iterator[None]:
        """Within it the backbone may run on these images.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).

        Raises:
            ValueError: If the images are uint8, or the backbone takes none of this
                size.
        """
        check_normalised(type(self.backbone).__name__, inputs, self.data_preprocessor)
        with _naming_size(self.backbone, inputs):
            yield


@contextlib.contextmanager
def _naming_size(backbone: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Say what to do about images of a size that a backbone asserts against."""
    try:
        yield
    except AssertionError as error:
        size = ' x '.join(map(str, inputs.shape[-2:]))
        raise ValueError(
            f'{type(backbone).__name__} does not take images of {size} px: {error} '
            'Give images of its size, or a config whose backbone takes any.'
        ) from error
