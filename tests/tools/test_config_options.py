"""--cfg-options, names of configs, and folders of outputs, command by command."""

import json
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from support.tools import is_drawn, run, saved_model
from support.training import small_model

import esvit_cli
from esvit_plugin import get_model, load_backbone
from esvit_plugin.apis import find_config
from esvit_plugin.engine.configs import config_path, load_config
from esvit_plugin.evaluation.feature_file import read_origin
from esvit_plugin.evaluation.loading import find_evaluated, network_of
from esvit_plugin.evaluation.throughput import backbone_config
from esvit_plugin.evaluation.transfer_results import (
    keep_others,
    labels,
    read_columns,
    write_columns,
)
from esvit_plugin.evaluation.transfer_run import model_settings

NARROW = {'type': 'EsViTSwin', 'img_size': 64, 'window_size': 4}
NARROW['arch'] = dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])
OPTIONS = ('--cfg-options', 'model.backbone.arch.depths=[1,1,1,1]')


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A config, a checkpoint of another depth in a work folder, an image."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'mine.py'
    Config(dict(model=small_model())).dump(str(config))
    torch.manual_seed(0)
    cfg = small_model(**NARROW)
    (tmp_path / 'run').mkdir()
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    torch.save(dict(state_dict=get_model(cfg).state_dict()), checkpoint)
    Config(dict(model=cfg)).dump(str(tmp_path / 'run' / 'mine.py'))
    image = np.random.default_rng(0).integers(256, size=(80, 90, 3))
    (tmp_path / 'images').mkdir()
    for name in 'ab':
        cv2.imwrite(f'images/{name}.png', image.astype(np.uint8))
    return config, checkpoint


def esvit(monkeypatch, capsys, *words):
    """What a command prints; its error where it fails."""
    monkeypatch.setattr(sys, 'argv', ['esvit', *map(str, words)])
    capsys.readouterr()
    try:
        esvit_cli.main()
    except SystemExit as end:
        assert end.code == 1
    return capsys.readouterr()


CALLS = {
    'features': ('images', '-o', 'new/out/f.npz', '--num-workers=0'),
    'attention': ('images', '-o', 'new/out', '--size=64', '--num-pictures=0'),
    'correspondence': ('images', '-o', 'new/out', '--size=64', '--num-pictures=0'),
}


@pytest.mark.parametrize('name', CALLS)
def test_options_are_those_of_the_training(
    tmp_path, trained, monkeypatch, capsys, name
):
    call = (name, *trained, *CALLS[name])
    error = esvit(monkeypatch, capsys, *call).err.splitlines()
    assert error[0].startswith('error: ') and len(error) <= 3
    assert error[-1].startswith(f'The model of {tmp_path}/run/mine.py, which lies')
    assert 'depths is [1, 1, 1, 1] there, [1, 1, 2, 1] here' in error[-1]
    # A command that is refused makes no folder.
    assert not (tmp_path / 'new').exists()
    printed = esvit(monkeypatch, capsys, *call, *OPTIONS)
    assert printed.err == '' and (tmp_path / 'new' / 'out').is_dir()
    records = [*(tmp_path / 'new' / 'out').glob('*.json')]
    for record in map(json.loads, [path.read_text() for path in records]):
        assert record['cfg_options'] == {'model.backbone.arch.depths': [1, 1, 1, 1]}
    assert 'error' in esvit(monkeypatch, capsys, *call, '--cfg-options', 'modl.a=1').err


def test_a_setting_without_weights_is_a_warning(trained, monkeypatch, capsys):
    call = ('features', *trained, *CALLS['features'], *OPTIONS)
    changed = esvit(monkeypatch, capsys, *call, 'model.head.student_temp=0.2')
    assert changed.err.count('\n') == 1
    assert 'warning: The model of' in changed.err
    assert 'head.student_temp is not set there, 0.2 here. If' in changed.err
    assert 'f.npz: pooled (2, 128)' in changed.out
    # The user may take the dumped config.
    call = ('features', trained[1].parent / 'mine.py', *call[2:-2])
    assert esvit(monkeypatch, capsys, *call).err == ''


def test_the_features_file_knows_the_options(trained, monkeypatch, capsys):
    config, checkpoint = trained
    out = ('-o', 'deep/er/f.npz', '--num-workers=0', '--keys', 'pooled')
    run('extract_features.py', config, checkpoint, 'images', *out, *OPTIONS)
    origin = read_origin('deep/er/f.npz')
    assert origin.options == {'model.backbone.arch.depths': [1, 1, 1, 1]}
    query = ('search.py', 'deep/er/f.npz', 'images/a.png', '-o', 'nearest/to/a.png')
    assert run(*query).splitlines()[1].split()[:2] == ['1', '1.000']
    assert is_drawn('nearest/to/a.png')
    # More of them are added, and those of the command line go first.
    with pytest.raises(ValueError, match='does not fit|shape|size|missing|lacks|left'):
        run(*query, '--cfg-options', 'model.backbone.arch.depths=[1,1,2,1]')
    # Tuples stay tuples, and files without options are as before.
    arrays = dict(np.load('deep/er/f.npz'))
    np.savez('t.npz', **{**arrays, 'options': repr({'a.b': (1, None)})})
    assert read_origin('t.npz').options == {'a.b': (1, None)}
    np.savez('t.npz', **{**arrays, 'options': 'print(1)'})
    with pytest.raises(ValueError, match='how it was made; write it again'):
        read_origin('t.npz')
    del arrays['options']
    np.savez('t.npz', **arrays)
    assert read_origin('t.npz') == origin._replace(options=None)


def test_timm_gets_the_changed_model(tmp_path):
    arch = dict(embed_dims=12, depths=[1, 1], num_heads=[1, 2])
    backbone = dict(type='EsViTSwin', arch=arch, out_indices=(1,), img_size=56)
    backbone['window_size'] = 7
    config, checkpoint, _ = saved_model(tmp_path, backbone, 24)
    cfg = Config.fromfile(config)
    cfg.model.backbone.arch.depths = [2, 1]
    cfg.dump(str(config))
    call = ('model_converters/to_timm.py', config, checkpoint)
    out = tmp_path / 'made' / 'timm.pth'
    with pytest.raises((ValueError, RuntimeError)):
        run(*call, out)
    assert not out.parent.exists()
    run(*call, out, '--cfg-options', 'model.backbone.arch.depths=[1,1]')
    assert out.is_file()
    run('model_converters/extract_backbone.py', checkpoint, tmp_path / 'b/c.pth')
    assert (tmp_path / 'b' / 'c.pth').is_file()


def test_every_command_on_a_config_has_the_options(monkeypatch, capsys):
    taken = set()
    for name in esvit_cli.COMMANDS:
        monkeypatch.setattr(sys, 'argv', ['esvit', name, '--help'])
        with pytest.raises(SystemExit):
            esvit_cli.main()
        usage = capsys.readouterr().out.split('\n\n')[0]
        if 'config' in usage.lower().replace('--cfg-options', ''):
            assert '--cfg-options' in usage, name
            taken.add(name)
    assert taken >= {'train', 'test', 'knn', 'features', 'search', 'transfer'}
    assert taken >= {'attention', 'correspondence', 'views', 'schedules'}
    assert taken >= {'throughput', 'to-timm', 'quickstart'}


@pytest.mark.parametrize('name', ['esvit_swin_t', 'resnet18_8xb32_in1k'])
def test_names_take_options(name):
    before = find_config(name).to_dict()
    backbone = find_config(name, {'model.backbone.frozen_stages': 1}).model.backbone
    assert backbone.frozen_stages == 1
    # Others that ask for it get the config as it was.
    assert find_config(name).to_dict() == before
    with pytest.raises(ValueError, match='cfg-options.*frozen_stagse.*frozen_stages'):
        find_config(name, {'model.backbone.frozen_stagse': 1})
    assert network_of(find_evaluated(name)) == network_of(name)
    changed = backbone_config(name, {'model.backbone.frozen_stages': 1})
    assert changed == {**backbone_config(name), 'frozen_stages': 1}


def test_models_without_a_config_take_no_options():
    for name in ('auto', 'timm::resnet18'):
        assert find_evaluated(name) == name
        with pytest.raises(ValueError, match=f'--cfg-options a.b: {name} is no config'):
            find_evaluated(name, {'a.b': 1})
    with pytest.raises(ValueError, match='no config of the name'):
        find_evaluated('esvit_swin_q', {'a.b': 1})


def test_a_name_is_its_path():
    for name in ('esvit_swin_t', 'linear_folder', 'esvit_swin_folder'):
        by_path = load_config(config_path(name), dict(data_root='/a'))
        assert load_config(name, dict(data_root='/a')).to_dict() == by_path.to_dict()


def test_a_loaded_config_is_named_in_messages(trained):
    config, checkpoint = trained
    cfg = find_config(str(config))
    with pytest.raises(ValueError, match='backbone'):
        load_backbone(cfg, checkpoint)
    cfg = find_config(str(config), {'model.backbone.arch.depths': [1, 1, 1, 1]})
    assert load_backbone(cfg, checkpoint, student=True).network == 'student'
    cfg.model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18))
    with pytest.raises(ValueError, match=f'{config} is of a ImageClassifier, which'):
        network_of(cfg, student=True)


def test_transfer_results_are_of_a_model_with_its_options(tmp_path, trained):
    model, out = tuple(map(str, trained)), str(tmp_path / 'new' / 'r.json')
    one, two = ({'mnist': dict(value=n, metric='top1')} for n in (1.0, 2.0))
    plain = model_settings(*model)
    assert 'cfg_options' not in plain
    options = {'model.backbone.arch.depths': (1, 1, 1, 1)}
    changed = model_settings(*model, options=options)
    write_columns(out, [dict(settings=changed, results=one)])
    (column,) = read_columns(out, [changed])
    # Those of the file are lists.
    assert column == dict(settings=changed, results=one)
    with pytest.raises(ValueError, match='cfg_options.* name another file with --out'):
        read_columns(out, [plain])
    # Another run with the same settings has written since.
    mine = dict(settings=changed, results={'dtd': two['mnist']})
    keep_others(out, [mine], {(0, 'dtd')})
    assert mine['results'] == {'dtd': two['mnist'], **one}
    write_columns(out, [dict(settings=plain, results=two)])
    assert read_columns(out, [plain])[0]['results'] == two
    names = labels([dict(settings=s, results={}) for s in (changed, plain)])
    assert names == ['mine, model.backbone.arch.depths=(1, 1, 1, 1)', 'mine']
    with pytest.raises(ValueError, match='cfg-options'):
        model_settings(*model, options={'model.backbone.dephts': 1})


def test_pictures_go_into_new_folders(tmp_path):
    tool = 'analysis_tools/draw_schedules.py'
    out = tmp_path / 'a' / 'b.png'
    with pytest.raises(ValueError, match='epoch-length'):
        run(tool, 'esvit_swin_t', '-o', out, '--epoch-length=0')
    with pytest.raises(NotADirectoryError, match=r'file is no folder; name another'):
        (tmp_path / 'file').touch()
        run(tool, 'esvit_swin_t', '-o', tmp_path / 'file' / 'b.png')
    assert not out.parent.exists()
    run(tool, 'esvit_swin_t', '-o', out, '--epoch-length=3')
    assert is_drawn(out)
