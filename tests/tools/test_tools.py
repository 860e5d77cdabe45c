"""Parts of the command-line tools."""

import runpy
from argparse import Namespace

import pytest
import torch
from mmengine.config import Config
from support.paths import ROOT

from esvit_plugin import get_model


def knn_arguments(**given):
    """The command line of tools/knn.py."""
    args = dict(config='c.py', checkpoint=None, k=None, temperature=None)
    return Namespace(**{**args, **given})


def test_knn_settings_come_from_the_command_line_then_the_config():
    merge_args = runpy.run_path(str(ROOT / 'tools' / 'knn.py'))['merge_args']
    cfg = Config(dict(load_from='a.pth', knn=dict(k=(5,), temperature=0.1)))
    args = knn_arguments()
    merge_args(cfg, args)
    assert args == knn_arguments(checkpoint='a.pth', k=(5,), temperature=0.1)
    given = dict(checkpoint='b.pth', k=[7], temperature=0.2)
    args = knn_arguments(**given)
    merge_args(cfg, args)
    assert args == knn_arguments(**given)
    args = knn_arguments(checkpoint='b.pth')
    merge_args(Config(dict(load_from=None)), args)
    assert (args.k, args.temperature) == ((10, 20, 100, 200), 0.07)
    with pytest.raises(ValueError, match=r'c\.py has no load_from: give the checkp'):
        merge_args(Config(dict(load_from=None)), knn_arguments())
    args = knn_arguments(checkpoint='b.pth')
    merge_args(Config(dict(load_from=None, knn=dict(k=5))), args)
    assert args.k == [5]
    for wrong in (dict(k=[0]), dict(temperature=0.0), dict(temperature=-1.0)):
        with pytest.raises(ValueError, match=r'^(k|temperature) must be'):
            merge_args(cfg, knn_arguments(**wrong))
    with pytest.raises(ValueError, match=r"k and temperature, not \['ks'\]"):
        merge_args(Config(dict(load_from='a.pth', knn=dict(ks=5))), knn_arguments())


def test_knn_takes_images_from_the_hook_or_variables():
    find = runpy.run_path(str(ROOT / 'tools' / 'knn.py'))['find_loaders']
    train, val = dict(batch_size=4), dict(batch_size=2)
    hook = dict(type='KNNMonitorHook', train_dataloader=train, val_dataloader=val)
    variables = dict(knn_dataloader=train, knn_val_dataloader=val)
    for cfg in (dict(custom_hooks=[hook]), variables):
        assert find(Config(cfg), 'c.py') == (train, val)
    with pytest.raises(ValueError, match=r'c\.py does not say .* KNNMonitorHook'):
        find(Config(dict(custom_hooks=[])), 'c.py')


@pytest.mark.parametrize('kind', ['map', 'tokens', 'class token'])
def test_knn_takes_the_features_of_other_methods(kind):
    backbone = dict(
        type='VisionTransformer',
        arch=dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64),
        img_size=32,
        out_type=dict(map='featmap', tokens='raw').get(kind, 'cls_token'),
    )
    model = get_model(dict(type='ImageClassifier', backbone=backbone))
    images = torch.randn(2, 3, 32, 32)
    extract = runpy.run_path(str(ROOT / 'tools' / 'knn.py'))['extract_view']
    last = model.backbone(images)[-1]
    view = dict(map=lambda: last.mean((2, 3)), tokens=lambda: last[:, 0]).get(
        kind, lambda: last
    )()
    torch.testing.assert_close(extract(model, images, 'teacher'), view)


def test_only_whole_classifiers_are_tested():
    check = runpy.run_path(str(ROOT / 'tools' / 'test.py'))['check_weights']
    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Linear(2, 2)))
    model['head'] = torch.nn.ModuleDict(dict(fc=torch.nn.Linear(2, 2)))
    weights = dict(model.state_dict())
    check(model, weights, 'a.pth')
    check(model, {f'module.{name}': value for name, value in weights.items()}, 'a.pth')
    del weights['head.fc.weight'], weights['head.fc.bias']
    with pytest.raises(
        ValueError, match=r'a\.pth lacks 2 .* head\.fc\.weight, head\.fc'
    ):
        check(model, weights, 'a.pth')
    weights['teacher.backbone.weight'] = weights['backbone.weight']
    with pytest.raises(ValueError, match=r'pre-training: .* esvit knn, or train a l'):
        check(model, weights, 'a.pth')
