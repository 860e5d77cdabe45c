"""EsViT, efficient self-supervised vision transformers, for OpenMMLab.

Importing the package registers its backbones, necks, heads, model, transforms,
data sets, hooks and optimiser wrappers in mmpretrain's registries, so that
``custom_imports = dict(imports=['esvit_plugin'])`` in a config is all it takes.
"""

try:
    from .compat import allow_mmengine_checkpoints, check_versions
except ModuleNotFoundError as error:
    if error.name == 'pkg_resources':
        raise ImportError(
            'mmengine needs pkg_resources, which setuptools 81 dropped. '
            "Install it with: pip install 'setuptools<81'"
        ) from error
    raise
from .version import __version__

check_versions()
allow_mmengine_checkpoints()

from . import datasets, engine, evaluation, models, registry  # noqa: E402
from .apis import get_model, list_models  # noqa: E402
from .evaluation.images import prepare_images  # noqa: E402
from .evaluation.loading import load_backbone  # noqa: E402
from .hub import join_hubs  # noqa: E402

join_hubs()

__all__ = [
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'get_model',
    'list_models',
    'load_backbone',
    'models',
    'registry',
    'prepare_images',
]
