"""Every config loads, builds, and says what the paper says."""

import pytest
import torch
import yaml
from mmpretrain.registry import MODELS, TRANSFORMS
from support.paths import CONFIGS
from support.small_configs import without_initial_values

from esvit_plugin.engine.config_checks import dicts
from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.hooks.checkpoint_hook import first_save
from esvit_plugin.models.view_and_regions import split_features

ALL = [
    str(path.relative_to(CONFIGS))
    for path in sorted(CONFIGS.rglob('*.py'))
    if not {'_base_', 'transfer', 'detection', 'segmentation'}
    & set(path.relative_to(CONFIGS).parts)
    and not path.stem.startswith('transfer_')
]
# Others have the models of these; see test_published_configs.py.
MODELS_TO_BUILD = [
    name
    for name in ALL
    if not name.startswith(('knn/', 'ablations/'))
    and not (name.startswith('linear/') and '_view' in name)
]
# Parameters that mmpretrain publishes for the same models.
SIZES = {
    'mocov3/mocov3_resnet50.py': 68012160,
    'mocov3/mocov3_vit_s.py': 84266752,
    'mocov3/mocov3_vit_b.py': 215678464,
    'mae/mae_vit_b.py': 111907840,
    'mae_lite/finetune_mae_lite_tiny.py': 5717416,
    'finetune/finetune_deit_s.py': 22050664,
}


@pytest.mark.parametrize('name', MODELS_TO_BUILD)
def test_config_builds(name):
    cfg = load_config(str(CONFIGS / name))
    for _, node in dicts(cfg.model):
        if 'num_classes' in node and node['num_classes'] is None:
            node['num_classes'] = 4  # that of the images, which are not here
    model = dict(cfg.model)
    if model['type'] == 'EsViT':
        for part in ('neck', 'head', 'region_neck', 'region_head'):
            if model[part] is not None:
                model[part] = dict(model[part], out_channels=16)
    with without_initial_values():
        model = MODELS.build(model)
    size = sum(param.numel() for param in model.parameters())
    assert size == SIZES.get(name, size)
    if cfg.model.type == 'LinearSweepClassifier':
        model.extract_feat(torch.zeros(1, 3, 32, 32))  # as wide as it says
    for transform in cfg.train_dataloader.dataset.pipeline:
        TRANSFORMS.build(transform)
    assert cfg.custom_imports.imports == ['esvit_plugin']


# Swin-T's recipe (Section 4) and what the experiments change of it, Tables 1 and 4.
RECIPE = dict(
    epochs=300, batch=512, lr=1e-3, window=7, regions=True, drop_path=0.1, kept=200
)
# The released files of Swin-S and B have this stochastic depth.
SMALL = dict(arch='small', drop_path=0.2)
BASE = dict(arch='base', drop_path=0.2)
VIT = 'DINOVisionTransformer'
PAPER = {
    'esvit_swin_t': {},
    'esvit_swin_t_view': dict(regions=False),
    'esvit_swin_t_w14': dict(window=14),
    'esvit_swin_t_w14_view': dict(window=14, regions=False),
    'esvit_swin_t_view_in1k': dict(regions=False, batch=1024, lr=2e-3),
    'esvit_swin_t_view_webvision': dict(
        regions=False, batch=1024, lr=2e-3, epochs=150, kept=100, data='WebVision'
    ),
    'esvit_swin_t_view_openimages': dict(
        regions=False, batch=1024, lr=2e-3, epochs=50, kept=30, data='OpenImages'
    ),
    'esvit_swin_t_view_imagenet22k': dict(
        regions=False, batch=1024, lr=2e-3, epochs=30, kept=20, data='UnlabeledFolder'
    ),
    'esvit_swin_s': SMALL,
    'esvit_swin_s_view': dict(SMALL, regions=False),
    'esvit_swin_s_w14': dict(SMALL, window=14),
    'esvit_swin_s_w14_view': dict(SMALL, window=14, regions=False, kept=180),
    'esvit_swin_b': BASE,
    'esvit_swin_b_view': dict(BASE, regions=False),
    'esvit_swin_b_w14': dict(BASE, window=14),
    'esvit_swin_b_w14_view': dict(BASE, window=14, regions=False),
    # Batch 1024 with one random neighbour throughout, and batch 512 with all
    'esvit_vil_t': dict(type='ViL', batch=1024, lr=2e-3, mode=1),
    'esvit_vil_t_view_b1024': dict(
        type='ViL', regions=False, batch=1024, lr=2e-3, mode=1
    ),
    'esvit_vil_t_view': dict(type='ViL', regions=False, mode=0),
    'esvit_cvt_t': dict(type='CvT', batch=1024, lr=2e-3),
    'esvit_cvt_t_view': dict(type='CvT', regions=False, batch=1024, lr=2e-3),
    'esvit_resnet50': dict(type='ResNet', batch=1024, lr=2e-3),
    'esvit_resnet50_view': dict(type='ResNet', regions=False, batch=1024, lr=2e-3),
    'esvit_deit_s': dict(type=VIT, batch=1024, lr=2e-3),
    'esvit_deit_s_view': dict(type=VIT, regions=False, batch=1024, lr=2e-3),
    'esvit_vit_b_view': dict(type=VIT, arch='base', regions=False, batch=1024, lr=2e-3),
}


def test_every_experiment_is_in_the_table():
    assert {name[:-3] for name in ALL if name.startswith('esvit_')} == set(PAPER)


@pytest.mark.parametrize('name', PAPER)
def test_experiments_are_the_papers(name):
    wanted = {**RECIPE, **PAPER[name]}
    cfg = load_config(str(CONFIGS / f'{name}.py'))
    backbone = cfg.model.backbone
    assert backbone.type == wanted.get('type', 'EsViTSwin')
    if backbone.type == 'EsViTSwin':
        assert backbone.arch == wanted.get('arch', 'tiny')
        assert backbone.window_size == wanted['window']
    if backbone.type == 'ResNet':
        assert backbone.zero_init_residual is False
    else:
        assert backbone.drop_path_rate == wanted['drop_path']
    switches = [h.switch_at for h in cfg.custom_hooks if h.type == 'RandomNeighborHook']
    if backbone.type == 'ViL':
        assert backbone.get('random_neighbor', False) == bool(wanted['mode'])
    assert switches == ([1.0] if wanted.get('mode') else [])
    milestone = cfg.default_hooks.milestone
    assert milestone.interval == 10
    assert first_save(milestone.save_begin, 10, wanted['epochs']) == wanted['kept']
    # The last third, and what a second phase begins with
    assert 0 <= 2 / 3 * wanted['epochs'] - wanted['kept'] <= 20
    for part in ('region_neck', 'region_head'):
        assert (cfg.model[part] is not None) == wanted['regions']
    assert cfg.model.neck.out_channels == 65536
    assert cfg.train_dataloader.dataset.type == wanted.get('data', 'ImageNet')
    assert cfg.train_cfg.max_epochs == wanted['epochs']
    assert cfg.train_dataloader.batch_size * 8 == wanted['batch']
    assert cfg.auto_scale_lr.base_batch_size == wanted['batch']
    assert (
        cfg.optim_wrapper.optimizer.lr == wanted['lr'] == 5e-4 * wanted['batch'] / 256
    )
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.04
    assert cfg.optim_wrapper.clip_grad.max_norm == 3.0
    crop = TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[1])
    assert crop.sizes == [224, 96]
    assert crop.num_views == [2, 8]
    assert repr(crop) == repr(TRANSFORMS.build(dict(type='MultiCrop')))
    assert cfg.sync_bn == 'torch'
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert {'EMATeacherHook', 'RegionTaskHook', 'KNNMonitorHook'} <= set(hooks)


FIRST_PHASES = {
    'esvit_swin_t_w14': ('view', 200),
    'esvit_swin_s_w14': ('view', 180),
    'esvit_swin_b_w14': ('view', 200),
    'esvit_swin_b': ('view', 200),
    'esvit_vil_t': ('view_b1024', 200),
    'esvit_cvt_t': ('view', 200),
    'esvit_resnet50': ('view', 200),
}


@pytest.mark.parametrize('name', FIRST_PHASES)
def test_second_phases_begin_with_what_the_first_ones_keep(name):
    suffix, epoch = FIRST_PHASES[name]
    first = load_config(str(CONFIGS / f'{name}_{suffix}.py'))
    second = load_config(str(CONFIGS / f'{name}.py'))
    keep = first.default_hooks.milestone
    path = f'{name}_{suffix}/' + keep.filename_tmpl.format(epoch)
    begin = first_save(keep.save_begin, keep.interval, first.train_cfg.max_epochs)
    assert epoch >= begin and (epoch - begin) % keep.interval == 0
    text = (CONFIGS / f'{name}.py').read_text()
    assert path in text and 'AdamW begins' in text
    (hook,) = [h for h in second.custom_hooks if h.type == 'RegionTaskHook']
    assert hook.reset_optimizer is True
    for part in ('train_dataloader', 'optim_wrapper', 'auto_scale_lr', 'train_cfg'):
        assert first[part] == second[part], part
    assert first.model.backbone == second.model.backbone
    assert first.param_scheduler == second.param_scheduler


MODELS_OF_PAPER = {
    'swin_t': 28,
    'swin_s': 49,
    'swin_b': 87,
    'vil_t': 28,
    'cvt_t': 29,
    'resnet50': 23.5,
    'deit_s': 21.7,
    'vit_b': 85.8,
}


def test_every_backbone_of_the_paper_has_a_model():
    found = {path.stem for path in (CONFIGS / '_base_' / 'models').glob('*.py')}
    assert found == set(MODELS_OF_PAPER)


@pytest.mark.parametrize(('name', 'millions'), MODELS_OF_PAPER.items())
def test_models_fit_their_backbones(name, millions):
    cfg = load_config(str(CONFIGS / '_base_' / 'models' / f'{name}.py')).model
    with without_initial_values():
        backbone = MODELS.build(cfg.backbone)
    size = sum(param.numel() for param in backbone.parameters()) / 1e6
    assert size == pytest.approx(millions, rel=0.02)
    backbone.eval()
    with torch.no_grad():
        view, regions = split_features(backbone, backbone(torch.randn(1, 3, 96, 96)))
    assert view.shape[-1] == regions.shape[-1] == cfg.neck.in_channels
    assert cfg.neck == cfg.region_neck


def listed_models():
    """The models of all metafiles, which model-index.yml names."""
    root = CONFIGS.parent
    index = yaml.safe_load((root / 'model-index.yml').read_text())
    files = [yaml.safe_load((root / path).read_text()) for path in index['Import']]
    return [model for file in files for model in file['Models']]


def test_every_config_is_listed():
    listed = [model['Config'] for model in listed_models()]
    paths = (path.relative_to(CONFIGS) for path in CONFIGS.rglob('*.py'))
    configs = [f'configs/{path}' for path in paths if '_base_' not in path.parts]
    assert sorted(listed) == sorted(configs)


def test_results_are_those_that_the_configs_name():
    for model in listed_models():
        text = (CONFIGS.parent / model['Config']).read_text()
        for result in model.get('Results', []):
            if result['Dataset'] == 'ImageNet-1k':
                for name, value in result['Metrics'].items():
                    kind = name.replace(' Top 1 Accuracy', '').lower()
                    kind = {'k-nn': 'k-NN', 'top 1 accuracy': 'top-1'}.get(kind, kind)
                    assert f'{value} % {kind}' in text, (model['Name'], name)


def test_damaged_images_are_named_in_every_pipeline():
    for path in sorted(CONFIGS.rglob('*.py')):
        # Those of other packages' pictures have their own loaders.
        if not {'detection', 'segmentation'} & set(path.parts):
            assert 'LoadImageFromFile' not in path.read_text(), path
    for name in ('finetune_folder', 'finetune_folder_laptop', 'finetune_swin_t'):
        cfg = load_config(name)
        for part, on_error in (('train', 'skip'), ('val', None), ('test', None)):
            load, *others = cfg[f'{part}_dataloader'].dataset.pipeline
            assert (load.type, load.get('on_error')) == ('LoadImage', on_error), name
            assert others[-1].type == 'PackInputs'
