"""Every config loads, builds, and says what the paper says."""

from pathlib import Path

import pytest
from mmpretrain.registry import MODELS, TRANSFORMS

from esvit_plugin.engine.launch import load_config

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
ALL = [
    str(path.relative_to(CONFIGS))
    for path in sorted(CONFIGS.rglob('*.py'))
    if '_base_' not in path.parts
]


@pytest.mark.parametrize('name', ALL)
def test_config_builds(name):
    cfg = load_config(str(CONFIGS / name))
    model = dict(cfg.model)
    if model['type'] == 'EsViT':
        for part in ('neck', 'head', 'region_neck', 'region_head'):
            model[part] = dict(model[part], out_channels=16)
    MODELS.build(model)
    for transform in cfg.train_dataloader.dataset.pipeline:
        TRANSFORMS.build(transform)
    assert cfg.custom_imports.imports == ['esvit_plugin']


def test_swin_t_is_the_papers_recipe():
    cfg = load_config(str(CONFIGS / 'esvit_swin_t.py'))
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == 5e-4 * 512 / 256
    assert cfg.train_cfg.max_epochs == 300
    assert cfg.optim_wrapper.clip_grad.max_norm == 3.0
    model = cfg.model
    assert model.neck.out_channels == model.region_neck.out_channels == 65536
    crop = TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[1])
    assert crop.sizes == [224, 96]
    assert crop.num_views == [2, 8]
    assert repr(crop) == repr(TRANSFORMS.build(dict(type='MultiCrop')))
