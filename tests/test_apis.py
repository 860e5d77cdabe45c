import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.models import SimMIM
from mmpretrain.registry import MODELS
from support.training import SMALL_SWIN, small_model

import esvit_plugin
from esvit_plugin import get_model, list_models
from esvit_plugin.evaluation.loading import load_backbone
from esvit_plugin.evaluation.throughput import measure_backbone


def saved(model, path):
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.mark.slow
def test_models_have_the_names_of_the_configs():
    assert {'esvit_swin_t', 'esvit_swin_photos'} <= set(list_models())
    assert not {'food101', 'knn_swin_t'} & set(list_models())
    model = get_model('esvit_swin_photos')
    assert isinstance(model, esvit_plugin.models.EsViT)
    assert not model.training
    with pytest.raises(ValueError, match=r"name 'esvit_resnet'; .*esvit_swin_t"):
        get_model('esvit_resnet')


def test_weights_of_another_window_are_refused(tmp_path):
    """They would be resized, and give other features without a word."""
    other = get_model(small_model(window_size=2))
    whole = saved(other, tmp_path / 'whole.pth')
    alone = saved(other.get_backbone(), tmp_path / 'alone.pth')
    for path in (whole, alone):
        with pytest.raises(ValueError, match='3 x 3 offsets, .* another window_size'):
            get_model(small_model(), path)
        get_model(small_model(window_size=2), path)


@pytest.mark.slow
def test_baselines_are_models_of_mmpretrain(tmp_path):
    assert {'mocov3_swin_t', 'mae_vit_b'} <= set(list_models())
    source = get_model('simmim_swin_t')
    assert isinstance(source, SimMIM)
    path = saved(source, tmp_path / 'checkpoint.pth')
    model = get_model('simmim_swin_t', path)
    assert not model.training
    x = torch.randn(1, 3, 192, 192)
    torch.testing.assert_close(model.extract_feat(x), source.extract_feat(x))
    with pytest.raises(ValueError, match='It is not an EsViT checkpoint'):
        get_model(small_model(), path)


@pytest.mark.parametrize('form', ['dict', 'config', 'path', 'yaml', 'json'])
def test_a_checkpoint_is_loaded(tmp_path, form):
    source = get_model(small_model())
    path = saved(source, tmp_path / 'checkpoint.pth')
    config = Config(dict(model=small_model()))
    files = dict(path='config.py', yaml='config.yaml', json='config.json')
    files = {key: tmp_path / name for key, name in files.items()}
    for file in files.values():
        config.dump(str(file))
    given = dict(dict=small_model(), config=config, **files)[form]
    model = get_model(given, path)
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    view, regions = model.encode(torch.randn(1, 3, 64, 64))
    assert view.shape == (1, 128)
    assert regions.shape == (1, 4, 128)


def test_a_checkpoint_may_be_a_url(tmp_path, monkeypatch):
    source = get_model(small_model())
    served = tmp_path / 'served'
    served.mkdir()
    saved(source, served / 'checkpoint.pth')
    # What is downloaded is kept here.
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    handler = functools.partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        model = get_model(small_model(), f'{url}/checkpoint.pth')
        with pytest.raises(OSError, match=f'{url}/gone.pth cannot be downl.* 404'):
            get_model(small_model(), f'{url}/gone.pth')
        server.shutdown()
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_backbone_may_have_state_that_it_cannot_load(tmp_path):
    cfg = small_model()
    cfg['backbone'] = dict(
        type='SwinTransformerV2',
        arch=dict(
            embed_dims=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 4, 8],
            extra_norm_every_n_blocks=0,
        ),
        img_size=64,
        window_size=4,
        pad_small_map=True,
    )
    source = get_model(cfg)
    model = get_model(cfg, saved(source, tmp_path / 'checkpoint.pth'))
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model.extract_feat(x), source.extract_feat(x))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint missing.pth'):
        get_model(small_model(), 'missing.pth')
    with pytest.raises(FileNotFoundError, match=r'no config file .*none.py'):
        get_model(tmp_path / 'none.py')
    with pytest.raises(ValueError, match='needs a config with a model'):
        get_model(dict(backbone=None))
    other = get_model(small_model(num_prototypes=16))
    path = saved(other, tmp_path / 'checkpoint.pth')
    with pytest.raises(ValueError, match='of shape'):
        get_model(small_model(), path)
    classifier = dict(
        type='ImageClassifier',
        backbone=small_model()['backbone'],
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=128),
    )
    with pytest.raises(RuntimeError, match=r'head\.fc\.weight'):
        get_model(classifier, path)


def test_a_backbone_of_other_channels_is_for_plain_pytorch():
    rgb = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    model = get_model(dict(small_model(in_channels=4), data_preprocessor=rgb))
    view, _ = model.encode(torch.randn(1, 4, 64, 64))
    assert view.shape == (1, 128)


@pytest.mark.parametrize('scope', [None, 'mmdet'])
def test_the_default_scope_stays_that_of_the_caller(tmp_path, monkeypatch, scope):
    scopes = {} if scope is None else {'own': DefaultScope('own', scope_name=scope)}
    monkeypatch.setattr(DefaultScope, '_instance_dict', scopes)
    path = saved(get_model(small_model()), tmp_path / 'whole.pth')
    load_backbone(Config(dict(model=small_model())), path)
    backbone = dict(type='ImageClassifier', backbone=SMALL_SWIN)
    alone = saved(MODELS.build(SMALL_SWIN), tmp_path / 'alone.pth')
    load_backbone(Config(dict(model=backbone)), alone)
    (tmp_path / 'config.json').write_text(json.dumps(dict(model=backbone)))
    measure_backbone(str(tmp_path / 'config.json'), 1, 64, seconds=0.01)
    current = DefaultScope.get_current_instance()
    assert (current and current.scope_name) == scope
