"""Refuse a checkpoint that does not fit, instead of half loading it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

# Tables that backbones resize on loading when their input or window changed.
_RESIZED = ('relative_position', 'pos_embed')
# Phase two of a run may add the region task to a view-only checkpoint.
_OPTIONAL = ('region_neck.', 'region_head.', 'teacher.region_neck.')
_OTHER_ARCH = 'It is an EsViT checkpoint of another architecture; use its own config.'


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
    if {'student', 'teacher'} <= set(state_dict):
        raise ValueError(
            "This is a checkpoint of the authors' program. Convert it first: "
            'python tools/model_converters/esvit_to_mmpretrain.py SRC DST'
        )
    expected = {
        f'{prefix}{name}': value
        for name, value in model.state_dict().items()
        if not name.startswith('data_preprocessor.')
    }
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
        teacher = any(name.startswith(f'{prefix}teacher.') for name in state_dict)
        advice = (
            _OTHER_ARCH
            if teacher
            else 'It is not an EsViT checkpoint. To start from a backbone alone, set '
            "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=..., "
            'prefix=...) instead of load_from.'
        )
        raise ValueError(
            f'The checkpoint lacks {len(missing)} of {len(expected)} tensors of this '
            f'EsViT, e.g. {", ".join(missing[:3])}. {advice}'
        )
    for name, value in expected.items():
        given = state_dict.get(name)
        if not isinstance(given, Tensor) or any(part in name for part in _RESIZED):
            continue
        if given.shape != value.shape:
            raise ValueError(
                f'The checkpoint has {name} of shape {tuple(given.shape)}, this '
                f'EsViT needs {tuple(value.shape)}. Use the config it was trained '
                'with (backbone.arch, out_channels, ...).'
            )
