"""What the package needs of its environment, checked or arranged on import."""

import importlib
import pickle
import warnings
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

# package -> (oldest supported, first unsupported)
SUPPORTED = {
    'torch': ('2.5.0', '2.16.0'),
    'mmengine': ('0.10.4', '0.11.0'),
    'mmcv': ('2.0.0', '2.4.0'),
    'mmpretrain': ('1.2.0', '1.3.0'),
}
INSTALL_HINT = {
    'mmcv': (
        "pip install 'mmcv-lite>=2.1.0,<2.4' (or, when mmdet or mmseg need its "
        'compiled ops, the full mmcv instead; never both)'
    ),
}


def check_versions() -> None:
    """Refuse an environment that is known not to work.

    Raises:
        ImportError: If a package of OpenMMLab or torch is missing or outside the
            supported range; the message says what to install.
    """
    # mmcv-lite, which is recommended, lacks an operator that nothing here needs.
    warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention')
    # mmengine passes it on; torch 2.14 has another name for it.
    warnings.filterwarnings('ignore', 'broadcast_buffers is deprecated')
    # Of mmengine, whose import needs setuptools below 81.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    for name, (oldest, limit) in SUPPORTED.items():
        hint = INSTALL_HINT.get(name, f"pip install '{name}>={oldest},<{limit}'")
        try:
            # mmpretrain checks its own needs on import, with bare assertions.
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise ImportError(
                f'esvit_plugin needs {name}, which is not installed. '
                f'Install it with: {hint}'
            ) from error
        version = module.__version__
        if not digit_version(oldest) <= digit_version(version) < digit_version(limit):
            raise ImportError(
                f'esvit_plugin supports {name} >={oldest},<{limit}, '
                f'but {name} {version} is installed. Install it with: {hint}'
            )


def _getattr_of_history_buffer(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` while a checkpoint is unpickled.

    A pickled ``HistoryBuffer`` names its statistics by ``getattr``. Unrestricted,
    that function would let a checkpoint reach any attribute of anything.
    """
    allowed = {'mean', 'min', 'max', 'current'}
    if owner is not HistoryBuffer or name not in allowed:
        raise pickle.UnpicklingError(
            f'attribute {name!r} of {owner!r} is none that a log needs'
        )
    return getattr(owner, name)


def _known_as(function: Any, module: str, name: str) -> Any:
    """The function under the name by which checkpoints ask for it."""

    def alias(*args: Any) -> Any:
        return function(*args)

    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read mmengine's checkpoints with ``weights_only=True``.

    That protection, the default from torch 2.6 on, refuses what mmengine keeps beside
    the weights (``HistoryBuffer`` and numpy arrays and scalars). It stays on: exactly
    these few names are allowed. ``engine.checkpoints`` asks for it on older versions.
    """
    # The module was renamed in numpy 2; checkpoints of both must load.
    core = importlib.import_module(
        'numpy._core'
        if digit_version(np.__version__) >= digit_version('2.0')
        else 'numpy.core'
    )
    multiarray = core.multiarray
    allowed: list[Any] = [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in ('f8', 'f4', 'i8')},
        _known_as(_getattr_of_history_buffer, 'builtins', 'getattr'),
    ]
    for package in ('numpy._core', 'numpy.core'):
        for function in (multiarray._reconstruct, multiarray.scalar):
            module = f'{package}.multiarray'
            allowed.append(_known_as(function, module, function.__name__))
    torch.serialization.add_safe_globals(allowed)
