"""Linear probes of several learning rates on one frozen backbone."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..last_blocks import pool_last_blocks
from ..strict_loading import whole_weights


@MODELS.register_module()
class LinearSweepClassifier(BaseClassifier):
    """Linear classifiers on the last blocks of a frozen backbone (Section 4).

    One forward pass of the backbone feeds a classifier for each learning rate, so that
    the best rate costs no more than one. Train it with
    ``LinearSweepOptimWrapperConstructor``, which gives each its rate, and evaluate
    with ``LinearSweepAccuracy``, which reports the best. ``BestRateHook`` keeps the
    number of that one in checkpoints, so that mmpretrain's
    ``ImageClassificationInferencer`` shows its predictions.

    Args:
        backbone: Config of the backbone. It runs in evaluation mode, without gradient.
        num_classes: Number of classes.
        in_channels: Width of the features: the sum of the blocks' widths.
        lr_factors: Learning rate of each classifier over that of the optimiser.
            Defaults to (1.0,).
        num_blocks: How many of the last blocks to take. Defaults to 4.
        patch_mean: Whether the mean of the last block's patch tokens stands after the
            class tokens, as in DINO's evaluation of ViT-B. Defaults to False.
        data_preprocessor: Config of the normalisation; its type defaults to
            ``ClsDataPreprocessor``.
        init_cfg: Initialisation. Defaults to weights from a normal of std 0.01, biases
            0.

    Raises:
        ValueError: If ``num_classes`` is None, ``lr_factors`` is empty, has equal
            numbers or one that is not positive, the backbone's features have another
            width, or ``patch_mean`` is asked of a backbone without a class token.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        in_channels: int,
        lr_factors: Sequence[float] = (1.0,),
        num_blocks: int = 4,
        patch_mean: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if isinstance(data_preprocessor, dict) or data_preprocessor is None:
            data_preprocessor = dict(data_preprocessor or {})
            data_preprocessor.setdefault('type', 'ClsDataPreprocessor')
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(init_cfg, data_preprocessor)
        if num_classes is None:
            raise ValueError(
                'LinearSweepClassifier: num_classes is None, which only a training and '
                'esvit_plugin.get_model take from the images: give the config that the '
                'training wrote into its work folder, or a number.'
            )
        factors = [float(factor) for factor in lr_factors]
        if not factors or min(factors) <= 0 or len(set(factors)) < len(factors):
            raise ValueError(
                'LinearSweepClassifier: lr_factors must be positive numbers, each only '
                f'once, got {list(lr_factors)}.'
            )
        self.lr_factors = factors
        self.num_blocks = num_blocks
        self.patch_mean = patch_mean
        self.in_channels = in_channels
        self.backbone: Any = MODELS.build(backbone)
        self.backbone.requires_grad_(False)
        self.heads = nn.ModuleList(
            _linear(in_channels, num_classes) for _ in self.lr_factors
        )
        # Which classifier predicts; -1 before a validation has chosen one.
        self.register_buffer('best', torch.tensor(-1))
        self._has_warned = False
        self.train()

    def choose(self, lr_factor: float) -> None:
        """Predict with the classifier of a rate from now on.

        Args:
            lr_factor: One of ``lr_factors``.

        Raises:
            ValueError: If there is no such classifier.
        """
        if lr_factor not in self.lr_factors:
            raise ValueError(
                f'LinearSweepClassifier: lr_factors={self.lr_factors} has no '
                f'{lr_factor}.'
            )
        self.best.fill_(self.lr_factors.index(lr_factor))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Load; older checkpoints do not say which classifier is the best."""
        state_dict.setdefault(f'{prefix}best', torch.tensor(-1))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def init_weights(self) -> None:
        """Load the backbone; a checkpoint must have all of its weights."""
        with whole_weights():
            super().init_weights()

    def train(self, mode: bool = True) -> 'LinearSweepClassifier':
        """Switch the mode; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Features (B, in_channels) of normalised images (B, 3, H, W)."""
        with torch.no_grad():
            feats = pool_last_blocks(
                self.backbone, inputs, self.num_blocks, self.patch_mean
            )
        if feats.shape[1] != self.in_channels:
            raise ValueError(
                f'LinearSweepClassifier: the last {self.num_blocks} blocks give '
                f'{feats.shape[1]} features, but in_channels={self.in_channels}. Set '
                f'model.in_channels={feats.shape[1]}.'
            )
        return feats

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Run the backbone once, then every classifier.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).
            data_samples: Labels, for the modes 'loss' and 'predict'.
            mode: 'tensor', 'loss' or 'predict'. Defaults to 'tensor'.

        Returns:
            Logits (classifiers, B, classes); for 'loss' the mean cross-entropy of
            each classifier; for 'predict' the samples with ``sweep_scores``
            (classifiers, classes), and the ``lr_factors`` they belong to; and of the
            classifier that validation found best ``pred_score`` (classes,) and
            ``pred_label`` (1,).

        Raises:
            ValueError: If there is no such mode, or a sample has no label.
        """
        feats = self.extract_feat(inputs)
        logits = torch.stack([head(feats) for head in self.heads])
        if mode == 'tensor':
            return logits
        if mode == 'predict':
            scores = logits.softmax(-1).unbind(1)
            samples = data_samples or [DataSample() for _ in scores]
            # In a validation nobody minds, as it is what chooses.
            best = self._best_number(quiet='gt_label' in samples[0])
            for sample, score in zip(samples, scores, strict=True):
                sample.set_field(score, 'sweep_scores')
                sample.set_field(self.lr_factors, 'lr_factors')
                sample.set_pred_score(score[best])
                sample.set_pred_label(score[best].argmax(dim=0, keepdim=True))
            return samples
        if mode != 'loss':
            raise ValueError(
                f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}."
            )
        if not data_samples or any('gt_label' not in s for s in data_samples):
            raise ValueError(
                'LinearSweepClassifier trains on labelled images, but samples have no '
                'gt_label; use a labelled data set, e.g. ImageNet.'
            )
        target = torch.cat([sample.gt_label for sample in data_samples])
        # The classifiers share nothing that is trained, so their sum trains each.
        return {
            f'loss_x{factor:g}': F.cross_entropy(part, target)
            for factor, part in zip(self.lr_factors, logits, strict=True)
        }

    def _best_number(self, quiet: bool) -> int:
        """The number of the classifier to predict with."""
        best = int(self.best)
        if 0 <= best < len(self.lr_factors):
            return best
        # The paper's own rate, where there is nothing to choose by.
        nearest = min(self.lr_factors, key=lambda factor: abs(factor - 1))
        if len(self.lr_factors) > 1 and not (quiet or self._has_warned):
            self._has_warned = True
            print_log(
                'No validation has chosen among the classifiers: pred_label is of '
                f'lr_factor {nearest:g} of {self.lr_factors}.',
                logger='current',
                level=logging.WARNING,
            )
        return self.lr_factors.index(nearest)


def _linear(in_channels: int, num_classes: int) -> nn.Linear:
    layer = nn.Linear(in_channels, num_classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
