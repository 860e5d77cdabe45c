"""Every config loads, builds, and says what the paper says."""

from pathlib import Path

import pytest
import torch
from mmpretrain.registry import MODELS, TRANSFORMS

from esvit_plugin.engine.launch import load_config
from esvit_plugin.models.features import split_features

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


MODELS_OF_PAPER = {
    'esvit_swin_t': 28,
    'esvit_swin_s': 49,
    'esvit_swin_b': 87,
    'esvit_vil_t': 28,
    'esvit_cvt_t': 29,
    'esvit_resnet50': 23.5,
    'esvit_deit_s': 21.7,
}


def test_every_backbone_of_the_paper_has_a_model():
    found = {path.stem for path in (CONFIGS / '_base_' / 'models').glob('*.py')}
    assert found == set(MODELS_OF_PAPER)


@pytest.mark.parametrize(('name', 'millions'), MODELS_OF_PAPER.items())
def test_models_fit_their_backbones(name, millions):
    cfg = load_config(str(CONFIGS / '_base_' / 'models' / f'{name}.py')).model
    backbone = MODELS.build(cfg.backbone)
    size = sum(param.numel() for param in backbone.parameters()) / 1e6
    assert size == pytest.approx(millions, rel=0.02)
    backbone.eval()
    with torch.no_grad():
        view, regions = split_features(backbone, backbone(torch.randn(1, 3, 96, 96)))
    assert view.shape[-1] == regions.shape[-1] == cfg.neck.in_channels
    assert cfg.neck == cfg.region_neck
