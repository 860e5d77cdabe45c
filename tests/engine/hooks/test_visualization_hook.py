import random
from unittest import mock

import cv2
import matplotlib.image
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image
from support.backbones import BACKBONES
from support.training import build_runner, small_model

from esvit_plugin import get_model
from esvit_plugin.engine.hooks import EsViTVisualizationHook

BUNDLED = ['astronaut', 'moon']


def train(tmp_path, model=None, epochs=1, hooks=(), **options):
    """A run with the hook on small pictures, and what it wrote by name."""
    options = dict(images=BUNDLED, size=64, queries=[(0, 0)]) | options
    runner = build_runner(
        tmp_path,
        model=model or small_model(),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        custom_hooks=[
            dict(type='EMATeacherHook'),
            *hooks,
            dict(type='EsViTVisualizationHook', **options),
        ],
        default_hooks=dict(checkpoint=None),
    )
    runner.train()
    return runner, {path.name: path for path in tmp_path.rglob('vis_image/*.png')}


@pytest.mark.slow
def test_pictures_of_every_image_go_to_the_visualizer(tmp_path):
    own = tmp_path / 'own image.png'
    noise = np.random.RandomState(0).randint(0, 255, (70, 90, 3), np.uint8)
    Image.fromarray(noise).save(own)
    runner, pictures = train(
        tmp_path / 'run', epochs=3, interval=2, images=['astronaut', str(own)]
    )
    # Every second epoch, and the last.
    assert set(pictures) == {
        f'{kind}_{name}_{epoch}.png'
        for kind in ('correspondence', 'attention')
        for name in ('0_astronaut', '1_own image')
        for epoch in (2, 3)
    }
    for path in pictures.values():
        assert matplotlib.image.imread(path).std() > 0.05, path
    assert runner.epoch == 3


class States(Hook):
    """Notes the random states and the mode of every part around the other hooks."""

    def __init__(self, seen):
        self.seen = seen

    def after_train_epoch(self, runner):
        modes = [part.training for part in runner.model.modules()]
        self.seen.append(
            (
                random.getstate(),
                np.random.get_state()[1].tolist(),
                torch.get_rng_state().tolist(),
                modes,
            )
        )


class Before(States):
    priority = 'VERY_HIGH'


class Froze(Hook):
    """Keeps one part of the teacher in evaluation mode."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.teacher['backbone'].stages[0].eval()


class After(States):
    priority = 'LOWEST'


@pytest.mark.slow
def test_training_goes_on_as_if_there_were_no_pictures(tmp_path):
    cfg = small_model(drop_path_rate=0.5)
    seen = []
    hooks = [Before(seen), After(seen), Froze()]
    runner, pictures = train(tmp_path / 'a', cfg, epochs=2, hooks=hooks)
    assert len(pictures) == 8
    for before, after in (seen[:2], seen[2:]):
        assert before == after
    assert not all(seen[0][-1])
    plain, _ = train(tmp_path / 'b', cfg, epochs=2, hooks=[Froze()], images=BUNDLED[:1])
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name]), name


def test_a_backbone_without_attention_has_correspondence_alone(tmp_path):
    model = small_model()
    model['backbone'], width = BACKBONES['ResNet']
    for neck in ('neck', 'region_neck'):
        model[neck] = {**model[neck], 'in_channels': width}
    _, pictures = train(tmp_path, model)
    assert set(pictures) == {
        'correspondence_0_astronaut_1.png',
        'correspondence_1_moon_1.png',
    }


def test_other_processes_draw_nothing(tmp_path):
    with mock.patch('mmengine.dist.utils.get_rank', return_value=1):
        hook = EsViTVisualizationHook(BUNDLED, size=64)
        runner = mock.Mock(epoch=0, max_epochs=1)
        hook.before_train(runner)
        hook.after_train_epoch(runner)
    assert not runner.visualizer.add_image.called and not runner.model.mock_calls


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match='interval must be >= 1, got 0'):
        EsViTVisualizationHook(interval=0)
    with pytest.raises(ValueError, match="must be a list .* got 'astronaut'"):
        EsViTVisualizationHook('astronaut')
    with pytest.raises(FileNotFoundError, match='no image or folder nowhere'):
        train(tmp_path, images=['nowhere'])
    with pytest.raises(ValueError, match='query 9,9 lies outside the last map'):
        train(tmp_path, queries=[(9, 9)])


def test_models_without_a_teacher_are_refused():
    hook = EsViTVisualizationHook(images=BUNDLED, size=64)
    runner = mock.Mock(model=torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match='a Linear has none: leave it out'):
        hook.before_train(runner)


def test_images_are_as_those_of_the_training(tmp_path):
    dark = np.random.default_rng(0).integers(2**12, size=(90, 90, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / 'camera.png'), dark)
    hook = EsViTVisualizationHook(images=[str(tmp_path / 'camera.png')])
    model = get_model(small_model())
    load = dict(type='LoadImage', bit_depth=12)
    cfg = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[load]))))
    hook.before_train(mock.Mock(model=model, cfg=cfg))
    (pair,) = hook._pairs
    # At least
    assert pair.views[0].shape == (224, 224, 3) and pair.views[0].mean() > 100
