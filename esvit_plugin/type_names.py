"""The names of what configs say to build."""

from collections.abc import Mapping
from typing import Any

# Names and classes that load weights from a file.
PRETRAINED = ('Pretrained', 'PretrainedInit', 'CheckedPretrainedInit')


def loads_weights(init_cfg: Any) -> bool:
    """Whether an ``init_cfg`` loads weights, alone or after others in a list.

    Args:
        init_cfg: A config, a list of configs or None.
    """
    alone = init_cfg is None or isinstance(init_cfg, Mapping)
    return any(
        type_name(cfg) in PRETRAINED for cfg in ([init_cfg] if alone else init_cfg)
    )


def type_name(cfg: Any, default: str = '') -> str:
    """The name of the class of a config, however its ``type`` is given.

    Args:
        cfg: A config. Its ``type`` is a name, one with a scope such as
            'mmpretrain.EsViT' or a module before it, or a class or function. Anything
            but a dict has none.
        default: What to return without a type. Defaults to ''.

    Returns:
        The name alone, e.g. 'EsViT'.
    """
    kind = cfg.get('type') if isinstance(cfg, Mapping) else None
    if kind is None:
        return default
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rpartition('.')[2]
