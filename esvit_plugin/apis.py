"""Getting a model in one call."""

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from mmengine.utils import is_installed
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor

from .engine.checkpoints import check_finite_weights, load_checkpoint_file
from .engine.class_count import fill_classes, has_open_classes
from .engine.cli import Failure
from .engine.configs import (
    CONFIG_ENDINGS,
    CONFIGS,
    apply_options,
    load_config,
    named_configs,
)
from .engine.console import only_warnings
from .engine.head_counts import check_heads
from .engine.pretrained_init import name_pretrained
from .models import EsViT
from .models.conversion.names import convert_first, is_released_training, must_convert
from .models.selfsup.checkpoint_check import load_backbone_alone
from .models.strict_loading import check_bias_tables


def list_models() -> list[str]:
    """Names that ``get_model`` takes: the configs of this package."""
    return sorted(_named_configs())


def get_model(
    config: str | os.PathLike | dict | Config,
    checkpoint: str | os.PathLike | None = None,
) -> Any:
    """Build a model, in evaluation mode on the CPU, and load its weights.

    Args:
        config: A name of ``list_models()``, e.g. 'esvit_swin_t'; the path of a
            config file (.py, .json, .yaml or .yml); a config; the dict of a model; or
            a model of another package, 'PACKAGE::PATH' or a name of
            ``mmpretrain.list_models()``.
        checkpoint: A checkpoint of that model to load, a file or a URL; for a model of
            self-supervision also one of its backbone alone, which leaves all else
            random. Defaults to None, random weights.

    Returns:
        The model. That of an ``esvit_`` config is an ``EsViT``: its ``encode`` and
        ``extract_feat`` give features, ``model.teacher['backbone']`` is the
        backbone to use further. Those of other methods (``mocov3_``, ``mae_``,
        ``mae_lite_``, ``dmae_``, ``simmim_``) are mmpretrain's or children of these,
        where it is ``model.backbone``.

    Raises:
        ValueError: If there is no config of that name, it has no model or takes the
            number of classes from images, or the checkpoint is damaged, not finite, or
            does not fit.
        RuntimeError: If it does not fit a model of mmpretrain.
        FileNotFoundError: If the config file or the checkpoint does not exist.

    Example:
        >>> model = esvit_plugin.get_model('esvit_swin_t', 'epoch_300.pth')
        >>> images = esvit_plugin.prepare_images(['a.jpg', 'b.png'], model)
        >>> view, regions = model.encode(images)
    """
    if isinstance(config, str | os.PathLike):
        config = find_config(os.fspath(config))
    cfg = find_model_config(config)
    # First, as a model may take long to build.
    weights, classes = (None, ()) if checkpoint is None else _read(checkpoint)
    if has_open_classes(cfg):
        cfg = fill_classes(copy.deepcopy(cfg), len(classes))
    # The caller may go on with models of another package.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(name_pretrained(cfg))
        if checkpoint is None or weights is None:
            # mmengine tells how each tensor began.
            with only_warnings():
                model.init_weights()
        else:
            _load_weights(model, weights, os.fspath(checkpoint))
            check_heads(model, checkpoint)
    model.eval()
    # Where mmpretrain's inferencers look for names of classes, and for a pipeline.
    model._dataset_meta = dict(classes=classes) if classes else {}
    whole = isinstance(config, Config) and 'model' in config
    model._config = config if whole else Config(dict(model=cfg))
    return model


def _load_weights(model: Any, weights: dict[str, Any], path: str) -> None:
    """Load weights by name, which must be those of the model."""
    try:
        if must_convert(weights, model.state_dict()):
            raise ValueError(convert_first(path))
        is_alone = isinstance(model, BaseSelfSupervisor) and hasattr(model, 'backbone')
        if is_alone and load_backbone_alone(model, weights):
            print_log(
                f'{path} holds a backbone alone: the features are its own, all else, '
                'such as projection heads or decoders, is random.',
                logger='current',
                level=logging.WARNING,
            )
            return
        # An EsViT checks the names itself, and may lack its region parts.
        strict = not isinstance(model, EsViT)
        quiet = None if strict else 'silent'
        _load_checkpoint_to_model(model, dict(state_dict=weights), strict, quiet)
        check_bias_tables(model.state_dict(), weights)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if path in text else f'{path}: {text}') from error
    except RuntimeError as error:
        own = set(model.state_dict())
        parts = {'missing': own - set(weights), 'unknown': set(weights) - own}
        reason = '; '.join(
            f'{what}: {", ".join(sorted(names)[:3])}'
            for what, names in parts.items()
            if names
        )
        reason = reason or ' '.join(str(error).split())[:300]
        raise Failure(
            f'{path} does not fit the {type(model).__name__} of the config: {reason}'
        ) from error


def read_weights(checkpoint: str | os.PathLike) -> dict[str, Any]:
    """Read the weights of a checkpoint, which must be finite.

    Args:
        checkpoint: A file of mmengine, of another program that keeps the weights as
            ``state_dict`` or ``model``, or of weights alone; ``.safetensors`` too. Or
            the URL of one of mmengine, which is kept in torch's cache.

    Returns:
        Tensors by name.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be downloaded.
        ValueError: If it is damaged, or has no weights or such that are not finite.
    """
    return _read(checkpoint)[0]


def _read(checkpoint: str | os.PathLike) -> tuple[dict[str, Any], Sequence[str]]:
    """The weights of a checkpoint, and the names of the classes it was trained on."""
    if '://' in os.fspath(checkpoint):
        content = _download(os.fspath(checkpoint))
    elif os.fspath(checkpoint).endswith('.safetensors'):
        content = _read_safetensors(os.path.expanduser(checkpoint))
    else:
        content = load_checkpoint_file(checkpoint, released=True)
    if is_released_training(content):
        raise ValueError(convert_first(checkpoint))
    nested = (content.get(key) for key in ('state_dict', 'model'))
    weights = next((part for part in nested if isinstance(part, dict)), content)
    if not any(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(
            f'{checkpoint} has no weights (a state_dict of tensors), only '
            f'{sorted(map(str, content))[:5]}.'
        )
    check_finite_weights(weights, os.fspath(checkpoint))
    meta = content.get('meta')
    dataset = meta.get('dataset_meta') if isinstance(meta, dict) else None
    classes = dataset.get('classes') if isinstance(dataset, dict) else None
    return weights, classes or ()


def _download(url: str) -> dict[str, Any]:
    """A checkpoint from elsewhere, by mmengine's loader of its scheme."""
    try:
        return CheckpointLoader.load_checkpoint(url, map_location='cpu')
    except OSError as error:
        raise OSError(f'{url} cannot be downloaded: {error}') from error


def _read_safetensors(path: str) -> dict[str, Any]:
    """Weights of a file of safetensors, which timm requires."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no checkpoint {path}.')
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f'The checkpoint {path} is damaged or no .safetensors ({error}); copy it '
            'again.'
        ) from error


def _named_configs() -> dict[str, Path]:
    # Those of data sets have no model, those of detectors are mmdet's, of segmentors
    # mmseg's, and those of k-NN evaluations have the models of the pre-training.
    others = {'transfer', 'detection', 'segmentation', 'knn'}
    return {
        name: path
        for name, path in named_configs().items()
        if not others & set(path.relative_to(CONFIGS).parts)
        and not name.startswith(('transfer_', 'knn_'))
    }


def find_model_config(config: str | os.PathLike | dict | Config) -> dict:
    """The model of a config that is given in any form; see ``get_model``.

    Args:
        config: As for ``get_model``.

    Returns:
        Config of the model, with the normalisation that the config gives beside it.

    Raises:
        ValueError: If there is no config of that name, or it has no model.
        FileNotFoundError: If the config file does not exist.
    """
    if isinstance(config, str | os.PathLike):
        config = find_config(os.fspath(config))
    model = config.get('model', config)
    if not isinstance(model, dict) or 'type' not in model:
        raise ValueError(
            'get_model needs a config with a model, or the dict of a model with its '
            f'type, got {model}.'
        )
    beside = config.get('data_preprocessor')
    if beside and model is not config and model.get('data_preprocessor') is None:
        # As mmengine's Runner does.
        model = {**model, 'data_preprocessor': beside}
    return model


def find_config(name: str, options: dict[str, Any] | None = None) -> Config:
    """The config of a path, or of a name of this package, mmpretrain or another.

    Args:
        name: As for ``get_model``.
        options: Overrides by dotted name, of ``--cfg-options``. Defaults to None.

    Returns:
        The config, whose ``filename`` says where it is from.

    Raises:
        ValueError: If there is no config of that name, or an override cannot be right.
        FileNotFoundError: If the config file does not exist.
    """
    if name in _named_configs() or (name.endswith(CONFIG_ENDINGS) and '::' not in name):
        return load_config(name, options)
    cfg = _find_foreign_config(name)
    # Those of others are checked only where they are changed.
    return apply_options(copy.deepcopy(cfg), options, name) if options else cfg


def _find_foreign_config(name: str) -> Config:
    """The config of a name of mmpretrain, or of 'PACKAGE::PATH'."""
    # Both are slow to import.
    if '::' in name:
        from mmengine.config.utils import MODULE2PACKAGE
        from mmengine.hub import get_config

        package = name.split('::')[0]
        package = MODULE2PACKAGE.get(package, package)
        if not is_installed(package):
            # mmengine would install it, without asking.
            raise ValueError(
                f'{name!r} needs the package {package}, which is not installed.'
            )
        try:
            return get_config(name)
        except (ImportError, FileNotFoundError) as error:
            raise ValueError(
                f'{name!r} cannot be read as PACKAGE::PATH of a config ({error}); e.g. '
                'mmpretrain::resnet/resnet50_8xb32_in1k.py.'
            ) from error
    from mmpretrain.apis.model import ModelHub

    try:
        return ModelHub.get(name).config
    except ValueError:
        raise ValueError(
            f'There is no config of the name {name!r}; give the path of a config '
            f'file or one of {", ".join(list_models())}.'
        ) from None
