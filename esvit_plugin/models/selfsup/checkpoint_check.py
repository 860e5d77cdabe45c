"""Refuse a checkpoint that does not fit, instead of half loading it."""

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.runner.checkpoint import load_state_dict
from torch import Tensor, nn

from ..conversion.names import STUDENT, TEACHER, convert_first, must_convert
from ..strict_loading import check_bias_tables

# Tables that backbones resize on loading when their input or window changed.
_RESIZED = ('relative_position', 'pos_embed')
# Phase two of a run may add the region task to a view-only checkpoint.
_OPTIONAL = ('region_neck.', 'region_head.', 'teacher.region_neck.')
_OTHER_ARCH = 'It is an EsViT checkpoint of another architecture; use its own config.'
_FROM_BACKBONE = (
    'To start from a backbone alone, set '
    "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=..., prefix={}) "
    'instead of load_from.'
)


def check_checkpoint(
    model: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: Any
) -> None:
    """Pre-hook of ``load_state_dict`` for ``EsViT``.

    mmengine loads with ``strict=False`` and only logs what does not fit, so that a
    wrong file would silently train from random weights. The regions' parts may be
    missing: the region task can be added to a view-only checkpoint.

    Args:
        model: The model that is being loaded.
        state_dict: The weights.
        prefix: Prefix of the model's names in ``state_dict``.

    Raises:
        ValueError: If the weights are not those of an ``EsViT`` of this
            architecture; the message names what differs and what to do.
    """
    expected = {
        f'{prefix}{name}': value
        for name, value in model.state_dict().items()
        if not name.startswith('data_preprocessor.')
    }
    if {'student', 'teacher'} <= set(state_dict) or must_convert(state_dict, expected):
        raise ValueError(convert_first())
    missing = [
        name
        for name in expected
        if name not in state_dict and not name[len(prefix) :].startswith(_OPTIONAL)
    ]
    unknown = [
        name
        for name in state_dict
        if name.startswith(prefix)
        and name not in expected
        and not name[len(prefix) :].startswith((*_OPTIONAL, 'data_preprocessor.'))
    ]
    if unknown and not missing:
        raise ValueError(
            f'The checkpoint has {len(unknown)} tensors that this EsViT does not have, '
            f'e.g. {", ".join(unknown[:3])}. {_OTHER_ARCH}'
        )
    if missing:
        raise ValueError(
            f'The checkpoint lacks {len(missing)} of {len(expected)} tensors of this '
            f'EsViT, e.g. {", ".join(missing[:3])}. {_advice(state_dict, prefix)}'
        )
    _check_shapes(expected, state_dict, 'EsViT')
    try:
        check_bias_tables(expected, state_dict)
    except ValueError as error:
        # Training may go on at another size; evaluations refuse it themselves.
        print_log(f'Tables are resized: {error}', 'current', logging.WARNING)


def _advice(state_dict: Mapping[str, Any], prefix: str) -> str:
    """What to do with a checkpoint that lacks tensors."""
    inner = [name[len(prefix) :] for name in state_dict if name.startswith(prefix)]
    if not any(name.startswith('teacher.') for name in inner):
        return f'It is not an EsViT checkpoint. {_FROM_BACKBONE.format("...")}'
    if all(name.startswith((TEACHER, STUDENT)) for name in inner):
        advice = _FROM_BACKBONE.format(repr(TEACHER))
        return f'It holds a backbone without projection heads. {advice}'
    return _OTHER_ARCH


def _check_shapes(
    expected: Mapping[str, Tensor], state_dict: Mapping[str, Any], owner: str
) -> None:
    for name, value in expected.items():
        given = state_dict.get(name)
        if not isinstance(given, Tensor) or any(part in name for part in _RESIZED):
            continue
        if given.shape != value.shape:
            raise ValueError(
                f'The checkpoint has {name} of shape {tuple(given.shape)}, this '
                f'{owner} needs {tuple(value.shape)}. Use the config it was trained '
                'with (backbone.arch, out_channels, ...).'
            )


def load_backbone_alone(model: Any, weights: Mapping[str, Any]) -> bool:
    """Load the backbone of a model from weights that have nothing else.

    Such are the files of ``extract_backbone.py``, and those that
    ``esvit_to_mmpretrain.py`` makes of backbone files. All else, such as projection
    heads, stays as it is, so that the model gives features and no losses.

    Args:
        model: A model of self-supervision; an ``EsViT`` gets student's and teacher's.
        weights: Tensors by name: those of a backbone, with or without the prefixes
            ``backbone.`` and ``teacher.backbone.``.

    Returns:
        Whether the weights are such; if not, nothing is loaded.

    Raises:
        ValueError: If they are those of another backbone.
    """
    parts: dict[str, dict[str, Any]] = {TEACHER: {}, STUDENT: {}, '': {}}
    for name, value in weights.items():
        if not name.startswith('data_preprocessor.'):
            prefix = next(prefix for prefix in parts if name.startswith(prefix))
            parts[prefix][name.removeprefix(prefix)] = value
    named = parts[TEACHER] or parts[STUDENT]
    if parts[''] and (named or not set(parts['']) & set(model.backbone.state_dict())):
        return False
    teacher = named or parts['']
    student = parts[STUDENT] or teacher
    pairs = [(model.backbone, student)]
    if hasattr(model, 'get_backbone'):
        pairs.append((model.get_backbone('teacher'), teacher))
    for backbone, values in pairs:
        _check_backbone(backbone, values)
        check_bias_tables(backbone.state_dict(), values)
        load_state_dict(backbone, dict(values))
    return True


def _check_backbone(backbone: nn.Module, weights: Mapping[str, Any]) -> None:
    """Refuse weights of another backbone."""
    expected = backbone.state_dict()
    differing = {
        'lacks': [
            name
            for name in expected
            # Old files lack the counters; the index follows from its table.
            if name not in weights
            and not name.endswith(('num_batches_tracked', 'relative_position_index'))
        ],
        'has besides': [name for name in weights if name not in expected],
    }
    differences = [
        f'{what} {", ".join(names[:3])}' for what, names in differing.items() if names
    ]
    kind = type(backbone).__name__
    if differences:
        raise ValueError(
            f'It holds a backbone alone, which is not the {kind} of the config: it '
            f'{"; it ".join(differences)}. Use the config of its architecture.'
        )
    _check_shapes(expected, weights, kind)
