"""What a step asks to be copied to the device, seen without one."""

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from support.training import build_runner, small_model

from esvit_plugin.models import MultiCropDataPreprocessor


def test_labels_that_nobody_reads_stay():
    preprocessor = MultiCropDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)
    samples = [DataSample().set_gt_label(i) for i in range(2)]
    views = torch.zeros(2, 2, 3, 8, 8, dtype=torch.uint8)
    for inputs in (views, [views, views[..., :4, :4]]):
        batch = preprocessor(dict(inputs=inputs, data_samples=samples))
        assert batch['data_samples'] is samples
    assert preprocessor(dict(inputs=views))['data_samples'] is None


def test_views_do_not_wait(tmp_path, monkeypatch):
    model = small_model()
    model['data_preprocessor'] = dict(
        type='MultiCropDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3
    )
    runner = build_runner(tmp_path, model=model)
    given = []
    to = torch.Tensor.to

    def record(self, *args, **kwargs):
        if self.dim() == 5:
            given.append(kwargs.get('non_blocking'))
        return to(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, 'to', record)
    runner.train()
    # Two sizes of view in each of four iterations.
    assert given == [True] * 8


def test_other_methods_do_not_wait_either(tmp_path):
    classifier = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=32),
        data_preprocessor=dict(num_classes=2),
    )
    model = MODELS.build(classifier)
    runner = build_runner(tmp_path, model=model, custom_hooks=[])
    assert runner.model.data_preprocessor._non_blocking
