"""Mask R-CNN of mmdet on this package's backbones; README.md says how to run it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.apis import inference_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from pycocotools import mask as coco_mask
from support.downstream import (
    Watch,
    assert_differs_in_backbone_alone,
    assert_loaded,
    assert_same_network,
    point_to_start,
    write_esvit,
    write_starts,
)
from support.paths import CONFIGS

CLASSES = ('box', 'disc')
STAGES = dict(out_indices=(0, 1, 2, 3), drop_path_rate=0.2)
# Backbone and the widths of its stages.
BACKBONES = {
    'swin': (
        dict(type='mmpretrain.EsViTSwin', arch='tiny', frozen_stages=0, **STAGES),
        [96, 192, 384, 768],
    ),
    'vil': (
        dict(
            type='mmpretrain.ViL',
            arch='tiny',
            num_chunk_stages=3,
            frozen_stages=0,
            **STAGES,
        ),
        [96, 192, 384, 768],
    ),
    'cvt': (
        dict(type='mmpretrain.CvT', arch='tiny', norm_eval=True, **STAGES),
        [64, 192, 384, 768],
    ),
}


def draw_picture(rng, height, width):
    """A noisy picture with a box and a disc on it, and their annotations."""
    picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    annotations = []
    for label, _ in enumerate(CLASSES):
        # Boxes in the left half, discs in the right one.
        w, h = (int(side * rng.uniform(0.25, 0.45)) for side in (width, height))
        x = label * width // 2 + int(rng.integers(width // 2 - w))
        y = int(rng.integers(height - h))
        shape = np.zeros((height, width), np.uint8)
        if label == 0:
            shape[y : y + h, x : x + w] = 1
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            segmentation = [[float(value) for value in corners]]
        else:
            axes = (w // 2, h // 2)
            cv2.ellipse(shape, (x + w // 2, y + h // 2), axes, 0, 0, 360, 1, -1)
            segmentation = coco_mask.encode(np.asfortranarray(shape))
            segmentation['counts'] = segmentation['counts'].decode()
        picture[shape > 0] = rng.integers(0, 256, 3)
        annotations.append(
            dict(
                category_id=label + 1,
                bbox=[x, y, w, h],
                area=int(shape.sum()),
                iscrowd=0,
                segmentation=segmentation,
            )
        )
    return picture, annotations


def write_coco(root, name, sizes):
    """Write pictures of the given (height, width) and their annotations."""
    rng = np.random.default_rng(len(sizes))
    (root / name).mkdir()
    images, annotations = [], []
    for i, (height, width) in enumerate(sizes):
        picture, objects = draw_picture(rng, height, width)
        cv2.imwrite(str(root / name / f'{i}.png'), picture)
        images.append(dict(id=i, file_name=f'{i}.png', height=height, width=width))
        for found in objects:
            annotations.append(dict(found, id=len(annotations) + 1, image_id=i))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    (root / f'{name}.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


@pytest.fixture(scope='session')
def coco(tmp_path_factory):
    """The folder of a made-up COCO set."""
    root = tmp_path_factory.mktemp('coco')
    write_coco(root, 'train', [(150, 220), (120, 200), (200, 140), (210, 160)])
    write_coco(root, 'val', [(130, 170), (180, 180)])
    return root


def detector_config(backbone, widths, coco, work_dir, scale=(320, 200)):
    """The config file with another backbone, on the made-up set."""
    cfg = Config.fromfile(Path(__file__).with_name('mask_rcnn.py'))
    cfg.model.backbone = backbone
    cfg.model.neck.in_channels = widths
    return fill_in(cfg, coco, work_dir, scale)


def fill_in(cfg, coco, work_dir, scale=(320, 200)):
    """A config on the made-up set.

    Pictures are resized to ``scale`` for predictions and a little larger in training.
    """
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = work_dir.name  # runners of one process need their own
    # It outlives the run, and the folder of a test does not.
    cfg.visualizer.vis_backends = []
    for part, name in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        loader = cfg[f'{part}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(
            data_root=str(coco),
            ann_file=f'{name}.json',
            data_prefix=dict(img=f'{name}/'),
            metainfo=dict(classes=CLASSES),
        )
        for step in loader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (320, 224) if part == 'train' else scale
        if part != 'train':
            cfg[f'{part}_evaluator'].ann_file = str(coco / f'{name}.json')
    return cfg


def frozen_names(backbone):
    """Parameters of the frozen stages, with the norms of their outputs."""
    prefixes = ['patch_embed.'] if backbone.frozen_stages >= 0 else []
    for i in range(backbone.frozen_stages + 1):
        prefixes += [f'stages.{i}.', f'norm{i}.']
    names = (name for name, _ in backbone.named_parameters())
    return {name for name in names if name.startswith(tuple(prefixes))}


def unused_names(backbone):
    """Parameters that the outputs do not depend on."""
    # What the global tokens of ViL gather in a stage's last block is dropped.
    return {
        f'stages.{i}.blocks.{len(stage.blocks) - 1}.attn.global_global_bias'
        for i, stage in enumerate(backbone.stages)
        if getattr(stage, 'num_global_tokens', 0)
    }


def check_prediction(detector, height, width):
    """Predict on a picture and check what comes back."""
    picture, _ = draw_picture(np.random.default_rng(7), height, width)
    found = inference_detector(detector, picture).pred_instances
    count = len(found)
    assert count > 0
    assert found.bboxes.shape == (count, 4)
    assert found.scores.shape == found.labels.shape == (count,)
    assert found.masks.shape == (count, height, width)
    assert set(found.labels.tolist()) <= {0, 1}
    limit = found.bboxes.new_tensor([width, height, width, height])
    assert (found.bboxes >= 0).all() and (found.bboxes <= limit).all()
    assert found.scores.isfinite().all()


@pytest.mark.parametrize('name', BACKBONES)
def test_trains_and_predicts(name, coco, tmp_path):
    cfg = detector_config(*BACKBONES[name], coco, tmp_path)
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()

    assert len(watch.losses) == 2
    for losses in watch.losses:
        assert {'loss_rpn_cls', 'loss_bbox', 'loss_mask', 'loss'} <= set(losses)
        assert np.isfinite(list(losses.values())).all(), losses
    print(name, 'losses', [round(losses['loss'], 3) for losses in watch.losses])

    backbone = runner.model.backbone
    names = {n for n, _ in backbone.named_parameters()}
    frozen = frozen_names(backbone)
    assert len(frozen) > 0 or backbone.frozen_stages < 0
    assert set(watch.gradients) == names - frozen
    without = {n for n, largest in watch.gradients.items() if not largest}
    assert without == unused_names(backbone) - frozen
    same = {n for n, v in backbone.state_dict().items() if v.equal(watch.before[n])}
    # Buffers stay: indices, and the statistics of batch norms by ``norm_eval``.
    assert same == (set(backbone.state_dict()) - names) | frozen | without

    for metric in ('bbox', 'segm'):
        assert 0 <= watch.metrics[f'coco/{metric}_mAP'] <= 1

    runner.model.cfg = cfg
    for height, width in ((260, 150), (97, 251)):
        check_prediction(runner.model, height, width)


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('size', [(256, 256), (96, 288)])
def test_predicts_at_other_sizes(name, size, coco, tmp_path):
    # Maps of 8 x 8 and 3 x 9 positions at last, which ratios of sizes round wrong.
    cfg = detector_config(*BACKBONES[name], coco, tmp_path, scale=size[::-1])
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    detector.eval()
    detector.cfg = cfg
    check_prediction(detector, *size)


@pytest.mark.parametrize('name', BACKBONES)
def test_starts_from_a_pretrained_teacher(name, coco, tmp_path):
    backbone, widths = BACKBONES[name]
    checkpoint = tmp_path / 'esvit.pth'
    small = dict(type=backbone['type'], arch='tiny')
    teacher = write_esvit(checkpoint, small, widths[-1])
    pretrained = dict(
        type='Pretrained', checkpoint=str(checkpoint), prefix='teacher.backbone.'
    )
    cfg = detector_config(dict(backbone, init_cfg=pretrained), widths, coco, tmp_path)
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    assert_loaded(detector.backbone.state_dict(), teacher)


@pytest.fixture(scope='module')
def starts(tmp_path_factory):
    return write_starts(tmp_path_factory.mktemp('starts'))


PATHS = sorted((CONFIGS / 'detection').glob('*.py'))
BASELINES = {
    '1x': ('mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 12),
    '3x': ('mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py', 36),
}


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_configs_are_mmdets_on_another_backbone(path, starts):
    cfg = Config.fromfile(path)
    schedule = path.stem.removesuffix('_supervised').split('_')[-1]
    name, epochs = BASELINES[schedule]
    baseline = get_config(f'mmdet::swin/{name}')
    assert cfg.train_cfg.max_epochs == epochs
    assert_differs_in_backbone_alone(cfg, baseline)

    init_default_scope('mmdet')
    weights = point_to_start(cfg, starts)
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    assert_loaded(detector.backbone.state_dict(), weights)

    # With the eps of mmdet's norms it is mmdet's network.
    ours = dict(cfg.model.backbone, init_cfg=None, norm_cfg=dict(type='LN', eps=1e-5))
    theirs = dict(baseline.model.backbone, init_cfg=None, convert_weights=False)
    assert_same_network(MODELS.build(ours), MODELS.build(theirs))


@pytest.mark.parametrize('twin', ['', '_supervised'])
def test_configs_train(twin, starts, coco, tmp_path):
    path = PATHS[0].with_name(f'mask_rcnn_swin_t_1x{twin}.py')
    cfg = fill_in(Config.fromfile(path), coco, tmp_path)
    weights = point_to_start(cfg, starts)
    cfg.merge_from_dict(
        {
            'model.roi_head.bbox_head.num_classes': len(CLASSES),
            'model.roi_head.mask_head.num_classes': len(CLASSES),
            'train_cfg.max_epochs': 1,
            'param_scheduler': [],  # the warm-up begins at nothing
            'default_hooks.checkpoint': None,
            'randomness.seed': 0,
        }
    )
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    assert_loaded(watch.before, weights)
    assert len(watch.losses) == 2
    assert np.isfinite([losses['loss'] for losses in watch.losses]).all()
    print(path.stem, 'losses', [round(losses['loss'], 3) for losses in watch.losses])
    assert all(watch.gradients[n] for n, _ in runner.model.backbone.named_parameters())
    for metric in ('bbox', 'segm'):
        assert np.isfinite(watch.metrics[f'coco/{metric}_mAP'])
