"""The configs of mmdet and mmseg start from what they name, where neither is installed.

``tests/detection`` and ``tests/segmentation`` check the rest of them.
"""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from support.downstream import assert_loaded, point_to_start, write_starts
from support.paths import ROOT

# The config that each inherits, and what says how the backbone is regularised there.
MASK_RCNN = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_'
UPERNET = 'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-'
CONFIGS = {
    'detection/mask_rcnn_swin_t_1x': (MASK_RCNN + '1x_coco.py', 0.2),
    'detection/mask_rcnn_swin_t_3x': (MASK_RCNN + 'ms-crop-3x_coco.py', 0.2),
    'segmentation/upernet_swin_t_ade20k': (UPERNET + '160k_ade20k-512x512.py', 0.3),
}
TWINS = {'': ('teacher.backbone.', 1e-6), '_supervised': ('backbone.', 1e-5)}


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Reads a config with a stand-in for its base of mmdet or mmseg, and that base."""
    stand_in = tmp_path / 'stand_in.py'
    stand_in.write_text(
        "model = dict(type='Other', backbone=dict(type='Swin', patch_norm=True))\n"
    )
    find, asked = Config._get_cfg_path, []

    def find_here(path, filename):
        if '::' not in path:
            return find(path, filename)
        asked.append(path)
        return str(stand_in), path.partition('::')[0]

    monkeypatch.setattr(Config, '_get_cfg_path', staticmethod(find_here))

    def load(path):
        cfg = Config.fromfile(path)
        (base,) = asked
        return cfg, base

    return load


@pytest.fixture(scope='module')
def starts(tmp_path_factory):
    return write_starts(tmp_path_factory.mktemp('starts'))


def test_every_config_is_tested():
    found = {
        str(path.relative_to(ROOT / 'configs').with_suffix(''))
        for folder in ('detection', 'segmentation')
        for path in (ROOT / 'configs' / folder).rglob('*.py')
    }
    assert found == {name + twin for name in CONFIGS for twin in TWINS}


@pytest.mark.parametrize('twin', TWINS)
@pytest.mark.parametrize('name', CONFIGS)
def test_config_starts_from_what_it_names(name, twin, load, starts):
    path = f'configs/{name}{twin}.py'
    cfg, base = load(ROOT / path)
    wanted_base, drop_path_rate = CONFIGS[name]
    assert base == wanted_base
    assert cfg.custom_imports.imports == ['esvit_plugin']
    assert f'tools/dist_train.sh {path} 8\n' in (ROOT / path).read_text()
    assert cfg.model.type == 'Other'  # all but the backbone is inherited

    prefix, eps = TWINS[twin]
    assert cfg.model.backbone.init_cfg.prefix == prefix
    weights = point_to_start(cfg, starts)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert_loaded(backbone.state_dict(), weights)

    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {eps}
    blocks = [block for stage in backbone.stages for block in stage.blocks]
    assert blocks[-1].attn.drop.drop_prob == pytest.approx(drop_path_rate)
    # As in mmdet and mmseg, the last stage too.
    assert [block.attn.shift_size for block in blocks] == [0, 3] * 6
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96))
    shapes = [tuple(map_.shape) for map_ in maps]
    assert shapes == [(1, 96 * 2**i, 16 // 2**i, 24 // 2**i) for i in range(4)]
