"""Checkpoints that a config's model begins with, looked for before it is built."""

import os
from pathlib import Path

from mmengine.config import Config

from ..models.frozen_teacher import TIMM
from .config_checks import dicts
from .configs import named_configs


def check_checkpoints(cfg: Config) -> None:
    """Refuse to train a model whose initial weights or teacher are not there.

    Args:
        cfg: The config. Every local ``checkpoint`` of its model is looked for: of
            ``init_cfg``, also of parts, and of teachers.

    Raises:
        FileNotFoundError: If there is no such file; the message names the setting.
    """
    for place, node in dicts(cfg._cfg_dict.get('model'), 'model'):
        path = node.get('checkpoint')
        if not isinstance(path, str) or '://' in path or path.startswith(TIMM):
            continue
        if not os.path.exists(os.path.expanduser(path)):
            setting = f'{place}.checkpoint'
            raise FileNotFoundError(
                f'There is no checkpoint {path or repr(path)}, which {setting} names. '
                f'{_how_to_train(path)}ive another with --cfg-options {setting}=PATH'
            )


def _how_to_train(path: str) -> str:
    """Which config of this package writes such a file, if one does."""
    name = Path(path).parent.name
    known = name in named_configs()
    return f'Train it first (esvit train {name}), or g' if known else 'G'
