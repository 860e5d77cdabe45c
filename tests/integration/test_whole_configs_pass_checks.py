"""Configs without a mistake pass the checks, and nothing is built for them."""

from pathlib import Path

import mmpretrain
import pytest
from mmengine.registry import DATASETS, MODELS
from support.paths import CONFIGS

from esvit_plugin.engine.config_checks import (
    check_config,
)
from esvit_plugin.engine.configs import load_config

ELSEWHERE = ('detection', 'segmentation')
ZOO = Path(mmpretrain.__file__).parent / '.mim' / 'configs'


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch):
    for registry in (MODELS, DATASETS):
        monkeypatch.setattr(type(registry), 'build', None)


OWN = [
    path
    for path in sorted(CONFIGS.rglob('*.py'))
    if not {'_base_', *ELSEWHERE} & set(path.relative_to(CONFIGS).parts)
]


def test_configs_of_this_package_pass():
    assert len(OWN) > 60
    # test_configs.py reads all.
    for path in OWN[::5]:
        load_config(str(path))


# Of each folder of methods one.
FOLDERS = ('vision_transformer', 'swin_transformer', 'resnet', 'mae', 'deit', 'beit')


@pytest.mark.parametrize('folder', FOLDERS)
def test_configs_of_mmpretrain_pass(folder):
    path = min((ZOO / folder).glob('*.py'))
    load_config(str(path))


def test_names_at_the_top_of_mmpretrains_configs_pass():
    names = set()
    for path in ZOO.rglob('*.py'):
        for line in path.read_text().splitlines():
            name, sign, _ = line.partition(' = ')
            if sign and name.isidentifier():
                names.add(name)
    assert len(names) > 60
    check_config({name: None for name in names})
