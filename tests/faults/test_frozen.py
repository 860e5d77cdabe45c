"""Parts of a model that freeze themselves, on two processes."""

import pytest
from support.faults.runs import CLASSIFIER, ended, start_ranks, write_config

SWIN = dict(
    type='EsViTSwin',
    arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2]),
    img_size=32,
    window_size=4,
)
VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=8,
)
RESNET = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
MULTI = dict(embed_dims=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
BACKBONES = {
    'vil': (dict(type='ViL', arch=MULTI, img_size=32, frozen_stages=2), 16),
    'cvt': (dict(type='CvT', arch=MULTI, frozen_stages=2), 16),
    'swin 3': (dict(SWIN, frozen_stages=3), 64),
    'swin 0': (dict(SWIN, frozen_stages=0), 64),
    'vit': (dict(VIT, frozen_stages=1), 16),
    'resnet': (dict(RESNET, frozen_stages=2, out_indices=(3,)), 64),
    'norm_eval': (dict(RESNET, norm_eval=True, frozen_stages=1, out_indices=(3,)), 64),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_frozen_stages_on_two_processes(tmp_path, name):
    backbone, width = BACKBONES[name]
    neck = dict(type='GlobalAveragePooling') if name != 'vit' else None
    model = dict(
        backbone=dict(backbone, _delete_=True),
        neck=neck,
        head=dict(in_channels=width),
    )
    config = write_config(tmp_path / 'c.py', CLASSIFIER, model=model)
    runs = start_ranks(tmp_path, config=config, options=['train_cfg.max_epochs=1'])
    for run in runs:
        ended(run.wait())
    assert 'Epoch(train) [1][2/2]' in runs[0].text
