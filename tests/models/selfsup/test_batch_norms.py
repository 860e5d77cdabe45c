"""Batch norms of student and teacher."""

import pytest
import torch
from mmengine.model.utils import convert_sync_batchnorm
from mmpretrain.registry import MODELS
from support.backbones import BACKBONES
from support.training import (
    with_backbone,
)
from torch.nn.modules.batchnorm import _BatchNorm


@pytest.mark.parametrize('name', ['ResNet', 'CvT'])
def test_batch_norms(name):
    """Those of the teacher run on batches of its own, and EMA leaves them alone."""
    model = MODELS.build(with_backbone(*BACKBONES[name]))
    model.init_weights()
    model.train()
    views = [torch.randn(2, n, 3, s, s) for n, s in ((2, 64), (3, 32))]
    model.loss(views)
    buffers = dict(model.backbone.named_buffers())
    means = [key for key in buffers if key.endswith('running_mean')]
    assert means
    ours = {k: v.clone() for k, v in model.teacher['backbone'].named_buffers()}
    for key in means:
        assert ours[key].abs().max() > 0
        assert not torch.allclose(ours[key], buffers[key])
    model.update_teacher(0.5)
    for key, value in model.teacher['backbone'].named_buffers():
        assert torch.equal(value, ours[key])
    model = convert_sync_batchnorm(model, 'torch')
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    assert len(norms) == 2 * len(means)
    assert all(isinstance(layer, torch.nn.SyncBatchNorm) for layer in norms)
