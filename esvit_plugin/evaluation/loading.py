"""Backbones to evaluate, from the checkpoints of several programs."""

import contextlib
import copy
import logging
import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..apis import find_config, find_model_config, get_model, read_weights
from ..engine.cli import Failure
from ..engine.head_counts import check_heads
from ..engine.variables import find_bit_depth
from ..models import EsViT
from ..models.conversion.backbones import backbone_from_released, rename_released
from ..models.conversion.names import (
    STUDENT,
    TEACHER,
    convert_first,
    is_backbone_alone,
    is_mocov3,
    must_convert,
)
from ..models.strict_loading import check_bias_tables
from ..models.swin_names import rename_last_norms
from ..type_names import type_name
from .frozen import FrozenBackbone
from .images import IMAGENET

AUTO = 'auto'
TIMM = 'timm::'
CONFIG_HELP = (
    'config of an EsViT or of any model of mmpretrain with a backbone (a path or a '
    'name), timm::NAME for weights of timm, or auto for a plain classifier whose '
    'architecture is found from its weights'
)
_HEADS = ('head.', 'fc.')
# Ends of names of buffers. The first two are computed where a checkpoint lacks them,
# the last is only counted in training.
_NO_WEIGHTS = ('attn_mask', 'relative_position_index', 'num_batches_tracked')
_REMEDY = {
    AUTO: 'Give the config of that model, or timm::NAME, instead of auto.',
    TIMM: 'Give the name of the model that the weights are of.',
}


def load_backbone(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike,
    student: bool = False,
) -> FrozenBackbone:
    """Load the backbone of a checkpoint, to be evaluated.

    The checkpoint must have every weight of the backbone, and besides these only
    weights of heads and necks.

    Args:
        config: The model that the checkpoint is of:

            - the config of an ``EsViT``, or of another model of mmpretrain with a
              ``backbone``, such as an ``ImageClassifier``, ``MoCoV3`` or ``MAE``: a
              path, a name of ``get_model``, or the config itself;
            - 'timm::NAME', timm's model NAME;
            - 'auto', a plain classifier or backbone (Swin, ViL, CvT, DeiT or ResNet)
              whose weights have the names of the Swin authors, torchvision, timm or
              the EsViT authors. Its architecture is found from the weights.
        checkpoint: The file. For the config of an ``ImageClassifier`` its weights may
            have mmpretrain's names, or those that 'auto' knows.
        student: Take an ``EsViT``'s student. Defaults to False, its teacher.

    Returns:
        The backbone on the CPU, with the normalisation of its config or of timm's
        model; with ImageNet's where these have none.

    Raises:
        ValueError: If there is no such config, it has no backbone, or no student that
            was asked for; or if the checkpoint is damaged, not finite, of an unknown
            kind or of a ViT with another number of heads.
        RuntimeError: If checkpoint and backbone do not fit; the message names the
            weights.
        FileNotFoundError: If a file does not exist.

    Example:
        >>> model = load_backbone('timm::resnet50', 'resnet50.pth')
        >>> model.extract_feat(images).shape  # (B, C)
    """
    name = _name_of(config)
    network = network_of(config, student)
    if network != 'backbone':
        model = get_model(config, checkpoint)
        backbone = model.get_backbone(network)
        depth = _bit_depth(config)
        return FrozenBackbone(backbone, model.data_preprocessor, network, depth)
    weights = _without_prefix(read_weights(checkpoint), 'module.')
    # The caller may go on with models of another package.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if name == AUTO:
            backbone, weights = _recognised(weights, os.fspath(checkpoint))
            normalisation: dict[str, Any] = IMAGENET
        elif name.startswith(TIMM):
            backbone, weights, normalisation = _timm(name, weights)
        else:
            cfg = find_model_config(config)
            backbone = MODELS.build(copy.deepcopy(cfg['backbone']))
            weights = _backbone_weights(backbone, weights, os.fspath(checkpoint))
            normalisation = cfg.get('data_preprocessor') or IMAGENET
        _load(backbone, weights, name, os.fspath(checkpoint))
        check_heads(backbone, checkpoint)
        return FrozenBackbone(
            backbone, _preprocessor(normalisation), bit_depth=_bit_depth(config)
        )


def find_evaluated(name: str, options: dict[str, Any] | None = None) -> str | Config:
    """The config of a command line, as ``load_backbone`` takes it.

    Args:
        name: As for ``load_backbone``.
        options: Of ``--cfg-options``. Defaults to None.

    Returns:
        The config with the options; 'auto' and 'timm::NAME' as they are.

    Raises:
        ValueError: If there is no such config, or the options cannot be right for it.
        FileNotFoundError: If the config file does not exist.
    """
    if name != AUTO and not name.startswith(TIMM):
        return find_config(name, options)
    if options:
        raise ValueError(
            f'--cfg-options {" ".join(options)}: {name} is no config, so it has no '
            'settings to change; give a config or leave the options out.'
        )
    return name


def _bit_depth(config: str | os.PathLike | Config) -> int | None:
    """The ``bit_depth`` of the images that a config trains on."""
    if not isinstance(config, Config):
        config = find_evaluated(os.fspath(config))
    return find_bit_depth(config) if isinstance(config, Config) else None


def _name_of(config: str | os.PathLike | Config) -> str:
    """A config for messages."""
    if isinstance(config, Config):
        return config.filename or 'the config'
    return os.fspath(config)


def network_of(config: str | os.PathLike | Config, student: bool = False) -> str:
    """Which network of a config's model is evaluated.

    Args:
        config: As for ``load_backbone``.
        student: Whether the student is asked for. Defaults to False.

    Returns:
        'teacher' or 'student' of an ``EsViT``; 'backbone' of everything else.

    Raises:
        ValueError: If there is no such model, or it has no student, or no backbone.
        FileNotFoundError: If there is no such config file.
    """
    name = _name_of(config)
    kind = 'plain backbone'
    if name.startswith(TIMM):
        import timm

        if not timm.is_model(name.removeprefix(TIMM)):
            raise ValueError(f'timm has no model {name}; timm.list_models() names all.')
    elif name != AUTO:
        cfg = find_model_config(config)
        model_type = cfg['type']
        kind = type_name(cfg)
        by_name = isinstance(model_type, str)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model_class = MODELS.get(model_type) if by_name else model_type
        if model_class is not None and issubclass(model_class, EsViT):
            return 'student' if student else 'teacher'
        if not isinstance(cfg.get('backbone'), dict):
            raise ValueError(
                f'The model of {name}, a {kind}, has no backbone to evaluate; give the '
                'config of a model that has one.'
            )
    if student:
        raise ValueError(
            f'{name} is of a {kind}, which has no student; leave --student out '
            '(--other-student of a second model), or give the config of an EsViT.'
        )
    return 'backbone'


def _without_prefix(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The tensors, without a prefix that all of their names have."""
    tensors = {name: v for name, v in weights.items() if isinstance(v, Tensor)}
    if all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): v for name, v in tensors.items()}
    return tensors


def _recognised(
    weights: dict[str, Tensor], checkpoint: str
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The backbone that plain weights are of, and its weights."""
    if is_mocov3(weights):
        raise ValueError(
            f'{convert_first(checkpoint)}, then give the config of that MoCo v3 '
            f'instead of {AUTO}.'
        )
    if any(name.startswith(STUDENT) for name in weights):
        raise ValueError(
            f'{checkpoint} has weights by the names of OpenMMLab (backbone.*), which '
            'do not tell the architecture: give the config of its model instead of '
            f'{AUTO}.'
        )
    if any(name.startswith('model.') for name in weights) and must_convert(weights):
        raise ValueError(
            f'{convert_first(checkpoint)}, then give the config of its model instead '
            f'of {AUTO}.'
        )
    try:
        cfg, converted = backbone_from_released(_without_heads(weights))
    except ValueError as error:
        raise ValueError(f'{checkpoint}: {error} {_REMEDY[AUTO]}') from error
    is_classifier = bool({'head.weight', 'head.fc.weight'} & set(weights))
    if cfg['type'] == 'EsViTSwin' and is_classifier:
        # A classifier was trained with torch's default eps, EsViT with 1e-6.
        cfg['norm_cfg'] = dict(type='LN', eps=1e-5)
    return MODELS.build(cfg), converted


def _without_heads(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: v for n, v in weights.items() if not n.startswith(_HEADS)}


def _timm(
    name: str, weights: dict[str, Tensor]
) -> tuple[nn.Module, dict[str, Tensor], dict[str, Any]]:
    """A model of timm, its weights without those of the classifier, its means."""
    from timm.data import resolve_data_config

    model_name = name.removeprefix(TIMM)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # it lists its stages
    try:
        backbone = MODELS.build(dict(type='TIMMBackbone', model_name=model_name))
    finally:
        logger.setLevel(level)
    model = backbone.timm_model
    classifier = model.pretrained_cfg.get('classifier') or ()
    heads = (classifier,) if isinstance(classifier, str) else classifier
    own = set(model.state_dict())
    kept = {
        f'timm_model.{n}': v
        for n, v in weights.items()
        if n in own or not n.startswith(tuple(f'{head}.' for head in heads))
    }
    data = resolve_data_config({}, model=model)
    scaled = {key: [255 * value for value in data[key]] for key in ('mean', 'std')}
    return backbone, kept, dict(**scaled, to_rgb=True)


def _backbone_weights(
    backbone: nn.Module, weights: dict[str, Tensor], checkpoint: str
) -> dict[str, Tensor]:
    """The weights of a config's backbone, renamed to its own names if need be."""
    has_teacher = any(name.startswith(TEACHER) for name in weights)
    if has_teacher and not is_backbone_alone(weights):
        raise ValueError(
            f'{checkpoint} has a student and a teacher: give the config of that EsViT, '
            'or take the backbone out with esvit extract-backbone.'
        )
    prefix = STUDENT
    kept = {
        n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)
    }
    if not kept:
        own = set(backbone.state_dict())
        kept = {
            n: v for n, v in weights.items() if n in own or not n.startswith(_HEADS)
        }
        if own - set(kept):
            # Names that are not known either: loading says what is missing.
            with contextlib.suppress(ValueError):
                kept = rename_released(_without_heads(kept))
        if not own & set(kept) and must_convert(weights, own):
            raise ValueError(convert_first(checkpoint))
    rename_last_norms(backbone, kept)
    return kept


def _load(
    backbone: nn.Module, weights: dict[str, Tensor], config: str, checkpoint: str
) -> None:
    """Load weights that fit the backbone exactly."""
    try:
        check_bias_tables(backbone.state_dict(), weights)
    except ValueError as error:
        raise Failure(f'{checkpoint}: {error}') from error
    own = {name: value.shape for name, value in backbone.state_dict().items()}
    shapes: list[str] = []
    problem = ''
    try:
        keys = backbone.load_state_dict(weights, strict=False)
        # Some backbones compute buffers anew and report those of the file as missing.
        missing = set(keys.missing_keys) - set(weights)
        left_over = set(keys.unexpected_keys)
    except (RuntimeError, AssertionError) as error:
        problem = ' '.join(str(error).split())[:200]
        missing, left_over = set(own) - set(weights), set(weights) - set(own)
        shapes = [
            f'{name} {tuple(weights[name].shape)} instead of {tuple(shape)}'
            for name, shape in own.items()
            if name in weights and weights[name].shape != shape
        ]
    parts = {'missing': missing, 'left over': left_over, 'of another shape': shapes}
    named = {
        what: sorted(name for name in names if not name.endswith(_NO_WEIGHTS))
        for what, names in parts.items()
    }
    reason = '; '.join(
        f'{len(names)} {what}, e.g. {", ".join(names[:3])}'
        for what, names in named.items()
        if names
    )
    if reason or problem:
        remedy = _REMEDY.get(
            TIMM if config.startswith(TIMM) else config,
            f'Give the config that the weights are of, or {AUTO} for a plain '
            'classifier.',
        )
        raise Failure(
            f'{checkpoint} does not fit the {type(backbone).__name__} of {config}: '
            f'{reason or problem}. {remedy}'
        )


def _preprocessor(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Config of a preprocessor that normalises as another one, and no more."""
    return dict(
        type='MultiCropDataPreprocessor',
        mean=cfg.get('mean'),
        std=cfg.get('std'),
        to_rgb=bool(cfg.get('to_rgb') or cfg.get('bgr_to_rgb')),
    )
