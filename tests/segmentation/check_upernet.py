"""The configs of mmseg's UPerNet; README.md says how to run it."""

import cv2
import numpy as np
import pytest
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.apis import inference_model
from mmseg.registry import MODELS
from support.downstream import (
    Watch,
    assert_differs_in_backbone_alone,
    assert_loaded,
    assert_same_network,
    point_to_start,
    write_starts,
)
from support.paths import CONFIGS

from esvit_plugin.engine.configs import load_config

BASELINE = (
    'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
)
PATHS = sorted((CONFIGS / 'segmentation').glob('*.py'))
every_config = pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)


def write_ade20k(root, part, sizes):
    """Write pictures of (height, width) and their labels, where 0 is unlabelled."""
    rng = np.random.default_rng(len(sizes))
    images, labels = root / 'images' / part, root / 'annotations' / part
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for i, (height, width) in enumerate(sizes):
        label = np.zeros((height, width), np.uint8)
        label[: height // 2, : width // 2] = 1
        label[height // 2 :, : width // 2] = 2
        label[: height // 2, width // 2 :] = 150
        picture = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        picture += label[..., None]
        cv2.imwrite(str(images / f'{i}.jpg'), picture)
        cv2.imwrite(str(labels / f'{i}.png'), label)


@pytest.fixture(scope='module')
def ade20k(tmp_path_factory):
    """The folder of a made-up ADE20K set."""
    root = tmp_path_factory.mktemp('ade20k')
    write_ade20k(root, 'training', [(120, 160), (150, 110), (130, 130)])
    write_ade20k(root, 'validation', [(100, 140)])
    return root


@pytest.fixture(scope='module')
def starts(tmp_path_factory):
    return write_starts(tmp_path_factory.mktemp('starts'))


@every_config
def test_configs_are_mmsegs_on_another_backbone(path):
    cfg, baseline = load_config(str(path)), get_config(BASELINE)
    assert_differs_in_backbone_alone(cfg, baseline)
    init_default_scope('mmseg')
    # With the eps of mmseg's norms it is mmseg's network.
    ours = dict(cfg.model.backbone, init_cfg=None, norm_cfg=dict(type='LN', eps=1e-5))
    theirs = dict(baseline.model.backbone, init_cfg=None)
    assert_same_network(MODELS.build(ours), MODELS.build(theirs))


def small_config(path, ade20k, work_dir):
    """Two iterations on two crops of 96 px, and an evaluation, on the made-up set.

    With one crop a batch the head's map of one position would have no statistics.
    """
    options = {
        'data_root': str(ade20k),
        'work_dir': str(work_dir),
        'experiment_name': work_dir.name,
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'train_dataloader.dataset.pipeline.2.scale': (384, 96),
        'train_dataloader.dataset.pipeline.3.crop_size': (96, 96),
        'val_dataloader.dataset.pipeline.1.scale': (384, 96),
        'test_pipeline.1.scale': (384, 96),
        'model.data_preprocessor.size': (96, 96),
        # The warm-up begins at nothing, and weights are to move by gradients alone.
        'param_scheduler': [],
        'optim_wrapper.optimizer.weight_decay': 0.0,
        'default_hooks.checkpoint': None,
        # It outlives the run, and the folder of a test does not.
        'visualizer.vis_backends': [],
        'randomness.seed': 0,
    }
    for part in ('train', 'val', 'test'):
        options[f'{part}_dataloader.num_workers'] = 0
        options[f'{part}_dataloader.persistent_workers'] = False
    return load_config(str(path), options)


def mean_iou(predicted, labels, num_classes=150):
    """In percent, over the classes that are predicted or there; 0 is unlabelled."""
    known = labels > 0
    predicted, wanted = predicted[known], labels[known].astype(int) - 1
    ratios = []
    for i in range(num_classes):
        union = ((predicted == i) | (wanted == i)).sum()
        if union:
            ratios.append(((predicted == i) & (wanted == i)).sum() / union)
    return 100 * np.mean(ratios)


@every_config
def test_trains_and_evaluates(path, ade20k, starts, tmp_path):
    cfg = small_config(path, ade20k, tmp_path)
    weights = point_to_start(cfg, starts)
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()

    assert_loaded(watch.before, weights)
    assert len(watch.losses) == 2
    for losses in watch.losses:
        assert {'decode.loss_ce', 'aux.loss_ce', 'loss'} <= set(losses)
        assert np.isfinite(list(losses.values())).all(), losses
    print(path.stem, 'losses', [round(losses['loss'], 3) for losses in watch.losses])
    backbone = runner.model.backbone
    names = {name for name, _ in backbone.named_parameters()}
    assert {n for n, largest in watch.gradients.items() if largest} == names
    same = {n for n, v in backbone.state_dict().items() if v.equal(watch.before[n])}
    assert same == set(backbone.state_dict()) - names  # indices

    runner.model.cfg = cfg
    picture = ade20k / 'images/validation/0.jpg'
    found = inference_model(runner.model, str(picture)).pred_sem_seg.data[0].numpy()
    labels = cv2.imread(str(ade20k / 'annotations/validation/0.png'), 0)
    assert found.shape == labels.shape == (100, 140)
    assert watch.metrics['mIoU'] == pytest.approx(mean_iou(found, labels), abs=0.01)
    print('mIoU', watch.metrics['mIoU'])
