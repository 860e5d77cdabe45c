"""The names of what configs say to build."""

from collections.abc import Mapping
from typing import Any

# Names and classes that load weights from a file.
PRETRAINED = ('Pretrained', 'PretrainedInit', 'CheckedPretrainedInit')


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
