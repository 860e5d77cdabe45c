import argparse
import re
import subprocess

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmpretrain import registry
from support.paths import ROOT
from support.training import build_runner

from esvit_plugin import compat


@pytest.mark.parametrize(
    ('kind', 'names'),
    [
        (
            'MODELS',
            'EsViT EsViTSwin DINOProjection DINOViewHead RegionMatchingHead '
            'MultiCropDataPreprocessor ViewListDataPreprocessor',
        ),
        ('TRANSFORMS', 'MultiCrop DeviceMultiCrop LoadImage'),
        ('DATASETS', 'BundledPhotos Digits LabeledFolder UnlabeledFolder'),
        (
            'HOOKS',
            'EMATeacherHook TeacherTempHook FreezeLastLayerHook KNNMonitorHook '
            'RandomStateHook TrainingMonitorHook AtomicCheckpointHook '
            'FiniteGuardHook RecoveryHook',
        ),
        ('RUNNERS', 'EsViTRunner'),
        ('LOOPS', 'ResumableTrainLoop'),
        (
            'OPTIM_WRAPPERS',
            'PerParamClipOptimWrapper PerParamClipAmpOptimWrapper '
            'MixedPrecisionOptimWrapper',
        ),
        ('OPTIM_WRAPPER_CONSTRUCTORS', 'MatrixDecayOptimWrapperConstructor'),
    ],
)
def test_importing_registers_components(kind, names):
    for name in names.split():
        assert getattr(registry, kind).get(name) is not None, name


def test_an_unsupported_version_is_named_with_its_remedy(monkeypatch):
    import mmcv

    monkeypatch.setattr(mmcv, '__version__', '1.7.0')
    with pytest.raises(ImportError, match=r'mmcv 1\.7\.0 is installed.*mmcv-lite'):
        compat.check_versions()


def test_checkpoints_of_a_runner_load_with_the_protection_on(tmp_path):
    runner = build_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1))
    runner.train()
    # The default, which is weights_only=True from torch 2.6 on.
    checkpoint = torch.load(tmp_path / 'epoch_1.pth')
    assert checkpoint['meta']['epoch'] == 1
    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert history.mean() == runner.message_hub.get_scalar('train/loss').mean()


class _Reaches:
    """Unpickles as ``getattr(owner, name)``."""

    def __init__(self, owner, name):
        self.call = (getattr, (owner, name))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ('owner', 'name'), [(HistoryBuffer, '__init__'), (argparse.Namespace, 'mean')]
)
def test_checkpoints_reach_no_other_attribute(tmp_path, owner, name):
    path = tmp_path / 'evil.pth'
    torch.save(_Reaches(owner, name), path)
    with pytest.raises(Exception, match='allowed|Unsupported|weights_only'):
        torch.load(path, weights_only=True)


def test_names_of_files_suit_every_system():
    if not (ROOT / '.git').exists():
        pytest.skip('this is no checkout of git')
    command = ('git', 'ls-files', '-z')
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    assert not [
        name
        for name in names.decode().split('\0')[:-1]
        if not re.fullmatch(r'[\w./-]+', name)
    ]
