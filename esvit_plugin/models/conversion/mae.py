"""Checkpoints of MAE-lite's program, and encoders of MAE from anywhere."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .backbones import check_fit
from .names import MARKERS, is_backbone_alone
from .renames import MAE_DECODER, VIT, to_ours

# Before the names of the network that is trained, and of D-MAE's teacher.
_STUDENT, _TEACHER, _ADAPTER = 'model.', 'tch_model.', 'attn_adapter.'
# MAE's names of what is not the encoder, which mmpretrain has in the neck.
_DECODER = ('decoder_', 'mask_token')
# Parts that a MAE lacks: classifiers, and the networks of contrastive methods.
_FOREIGN = (
    *('head.', 'head_dist.', 'fc.', 'predictor.'),
    *('momentum_encoder.', 'base_encoder.', 'teacher.', 'student.'),
)
# All encoders of MAE-lite's program, whatever their width.
_HEADS = 12
# Channels of a head of the decoder.
_DECODER_HEAD = 32


def is_mae_lite_checkpoint(checkpoint: Mapping[str, Any]) -> bool:
    """Whether its program has written it; a ViT under ``model``, named ``model.*``."""
    weights = checkpoint.get('model')
    marker = _STUDENT + MARKERS['VisionTransformer']
    return isinstance(weights, Mapping) and any(
        _bare(name) == marker for name in weights
    )


def mae_lite_from_released(
    checkpoint: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a pre-training checkpoint of MAE-lite's program.

    Args:
        checkpoint: What the program saved: weights under ``model``, named
            ``module.model.*``; of D-MAE also ``module.attn_adapter.*``, and
            ``module.tch_model.*`` of the teacher, which are left out.

    Returns:
        Config of the ``MAE``, or of the ``DistilledMAE``, and its weights, which it
        loads strictly.

    Raises:
        ValueError: If a weight is missing, unknown or of another shape; the message
            names it.
    """
    converted: dict[str, Tensor] = OrderedDict()
    for name, value in checkpoint['model'].items():
        short = _bare(name)
        if short.startswith(_STUDENT):
            converted[mae_name(short.removeprefix(_STUDENT))] = value
        elif not short.startswith(_TEACHER):
            converted[short] = value
    try:
        config = _config(converted)
    except KeyError as error:
        raise ValueError(
            f"It is of MAE-lite's program, but no whole pre-training: it lacks {error}."
            ' Its encoders, of 12 heads where DeiT has 3 and 6, are converted with '
            'their decoder.'
        ) from error
    check_fit(config, converted, 'The file is damaged, or of another program.')
    return config, converted


def encoder_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of weights of MAE, in mmpretrain's names.

    Args:
        weights: By the names of MAE, timm, MAE-lite or mmpretrain.

    Returns:
        Those of the encoder; without decoder, heads and teacher. Names that are not
        known are passed on.
    """
    short = {_bare(name): value for name, value in weights.items()}
    for prefix in ('backbone.', _STUDENT):
        if any(name.startswith(prefix) for name in short):
            short = {
                name.removeprefix(prefix): value
                for name, value in short.items()
                if name.startswith(prefix)
            }
    others = (*_DECODER, 'head.', 'fc_norm.')
    return {to_ours(n, VIT): v for n, v in short.items() if not n.startswith(others)}


def foreign_tensors(weights: Iterable[str]) -> list[str]:
    """Names of weights that a MAE does not have, and its encoder neither.

    A ViT of another method has an encoder of the same names and shapes; what the method
    has besides tells it.

    Args:
        weights: Names as for :func:`encoder_weights`.
    """
    if is_backbone_alone(weights):
        return []
    short = {name: _bare(name).removeprefix(_STUDENT) for name in weights}
    neck = [name for name, bare in short.items() if bare.startswith('neck.')]
    if any('neck.decoder_' in name for name in neck):
        neck = []
    return [name for name, bare in short.items() if bare.startswith(_FOREIGN)] + neck


def _bare(name: str) -> str:
    return name.removeprefix('module.')


def mae_name(name: str) -> str:
    """A tensor's name in mmpretrain's ``MAE``, from that in MAE's program."""
    if name.startswith(_DECODER):
        return f'neck.{to_ours(name, MAE_DECODER)}'
    return f'backbone.{to_ours(name, VIT)}'


def _config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    patch = weights['backbone.patch_embed.projection.weight']
    if patch.dim() != 4:
        raise ValueError(
            f'Its patch_embed.proj.weight is of shape {tuple(patch.shape)}, not that '
            'of a convolution (C, 3, P, P): the file is damaged.'
        )
    width, _, patch_size, _ = patch.shape
    decoder_width = len(weights['neck.decoder_embed.weight'])
    num_patches = weights['backbone.pos_embed'].shape[1] - 1
    config: dict[str, Any] = dict(
        type='MAE',
        backbone=dict(
            type='MAELiteViT',
            arch=dict(
                embed_dims=width,
                num_layers=_number(weights, 'backbone.layers.'),
                num_heads=_HEADS,
                feedforward_channels=len(
                    weights['backbone.layers.0.ffn.layers.0.0.bias']
                ),
            ),
            img_size=round(num_patches**0.5) * patch_size,
            patch_size=patch_size,
        ),
        neck=dict(
            type='MAELiteDecoder',
            num_patches=num_patches,
            patch_size=patch_size,
            embed_dim=width,
            decoder_embed_dim=decoder_width,
            decoder_depth=_number(weights, 'neck.decoder_blocks.'),
            decoder_num_heads=decoder_width // _DECODER_HEAD,
        ),
        head=dict(
            type='MAEPretrainHead',
            norm_pix=True,
            patch_size=patch_size,
            loss=dict(type='PixelReconstructionLoss', criterion='L2'),
        ),
    )
    if any(name.startswith(_ADAPTER) for name in weights):
        grid = {key: config['backbone'][key] for key in ('img_size', 'patch_size')}
        teacher = dict(type='MAETeacher', checkpoint='', backbone=grid)
        config.update(type='DistilledMAE', target_generator=teacher)
    return config


def _number(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks whose names begin so."""
    rest = [n.removeprefix(prefix) for n in weights if n.startswith(prefix)]
    return len({name.split('.')[0] for name in rest})
