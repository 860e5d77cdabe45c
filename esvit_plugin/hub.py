"""This package's configs in the hubs of mmengine and mmpretrain.

``_base_ = 'esvit_plugin::demo/esvit_swin_folder.py'``, ``mmengine.hub`` and
``mmpretrain.get_model('esvit_swin_t')`` find them, in a checkout and in a wheel.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine.hub  # noqa: F401
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmpretrain.apis import FeatureExtractor
from mmpretrain.apis.model import ModelHub

from .datasets.image_files import evaluation_steps
from .models.utils import image_size

PACKAGE = 'esvit_plugin'
# What mmengine and mim read of a package: configs, tools and the index of models.
MIM = Path(__file__).resolve().parent / '.mim'


def join_hubs() -> None:
    """Make mmengine and mmpretrain find the configs of this package."""
    if PACKAGE in MODULE2PACKAGE:
        return
    MODULE2PACKAGE[PACKAGE] = PACKAGE
    # mmengine has the functions in its modules, by name.
    for name in ('mmengine.config.config', 'mmengine.hub.hub'):
        module: Any = sys.modules[name]
        module.get_installed_path = _with_own_path(module.get_installed_path)
        module._get_package_and_cfg_path = _with_top_level(
            module._get_package_and_cfg_path
        )
    ModelHub._register_mmpretrain_models = _with_own_models(
        ModelHub._register_mmpretrain_models
    )
    FeatureExtractor._init_pipeline = _with_usual_pipeline(
        FeatureExtractor._init_pipeline
    )


def _with_own_path(function: Callable[[str], str]) -> Callable[[str], str]:
    """Mmengine's ``get_installed_path``, which knows no editable installation."""

    @functools.wraps(function)
    def get_installed_path(package: str) -> str:
        return str(MIM.parent) if package == PACKAGE else function(package)

    return get_installed_path


def _with_top_level(
    function: Callable[[str], tuple[str, str]],
) -> Callable[[str], tuple[str, str]]:
    """Mmengine's parser of ``PACKAGE::PATH``, which wants a folder in each path.

    The experiments at the top level of ``configs/`` have the folder ``esvit/`` there.
    """

    @functools.wraps(function)
    def get_package_and_cfg_path(cfg_path: str) -> tuple[str, str]:
        package, path = function(cfg_path)
        if package == PACKAGE:
            path = path.removeprefix('esvit/')
        return package, path

    return get_package_and_cfg_path


def _with_own_models(function: Callable[[], None]) -> Callable[[], None]:
    """Mmpretrain's registration of its models, and of this package's with it."""

    @functools.cache
    def register() -> None:
        ModelHub.register_model_index(MIM / 'model-index.yml', config_prefix=MIM)

    def register_models() -> None:
        function()
        register()

    return register_models


def _with_usual_pipeline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mmpretrain's choice of a pipeline, which wants a test data set in each config.

    Those of pre-training have none; their images are cut as ``ImageFiles`` does.
    """

    @functools.wraps(function)
    def init_pipeline(self: FeatureExtractor, cfg: Config) -> Any:
        if cfg.get('test_dataloader') is None:
            # Of an EsViT the student's, which is the teacher's in this.
            size = image_size(self.model.backbone)
            dataset = dict(pipeline=evaluation_steps(size))
            cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
        return function(self, cfg)

    return init_pipeline
