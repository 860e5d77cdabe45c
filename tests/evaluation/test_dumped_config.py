"""The config that a training left beside its checkpoint."""

import pytest
import torch
from mmengine.config import Config
from support.training import small_model

from esvit_plugin.apis import find_config, find_model_config
from esvit_plugin.engine.cli import Failure
from esvit_plugin.evaluation.dumped_config import (
    compare_dump,
    differences,
    evaluated_config,
    find_dump,
    read_dump,
)


def changed(model, **options):
    cfg = Config(dict(model=model))
    cfg.merge_from_dict({f'model.{name}': value for name, value in options.items()})
    return cfg.model


@pytest.mark.parametrize(
    'name',
    ['esvit_swin_photos', 'linear_folder', 'mae_deit_s', 'finetune_deit_s'],
)
def test_a_config_is_its_own_dump(tmp_path, name):
    cfg = find_config(name)
    cfg.dump(str(tmp_path / 'dump.py'))
    dump = read_dump(str(tmp_path / 'dump.py'))
    assert differences(find_model_config(dump), find_model_config(cfg)) == []


def test_differences_have_their_dotted_names(tmp_path):
    model, path = small_model(), str(tmp_path / 'dump.py')
    Config(dict(model=model, train_cfg=dict(by_epoch=True))).dump(path)
    dump = read_dump(path)
    assert differences(dump['model'], model) == []
    other = {'backbone.window_size': 2, 'head.center_momentum': 0.5}
    found = differences(dump['model'], changed(model, **other))
    assert [tuple(one)[::2] for one in found] == [
        ('model.backbone.window_size', 2),
        ('model.head.center_momentum', 0.5),
    ]
    assert str(found[0]) == 'model.backbone.window_size is 4 there, 2 here'
    assert str(found[1]).endswith('center_momentum is not set there, 0.5 here')


def test_models_are_compared_as_data():
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type=torch.nn.Linear, out_indices=(0, 1), dims=[1, 2]),
        head=dict(num_classes=10, losses=(dict(weight=1.0), dict(weight=2))),
        init_cfg=dict(type='Pretrained', checkpoint='a.pth'),
    )
    same = dict(
        type='ImageClassifier',
        backbone=dict(type='torch.nn.Linear', out_indices=[0, 1], dims=(1, 2)),
        head=dict(num_classes=None, losses=[dict(weight=1), dict(weight=2.0)]),
        _scope_='mmpretrain',
    )
    assert differences(model, same) == []
    other = changed(same, **{'head.losses.1.weight': 3, 'backbone.dims': [1]})
    assert [tuple(one) for one in differences(model, other)] == [
        ('model.backbone.dims', [1, 2], [1]),
        ('model.head.losses.1.weight', 2, 3),
    ]
    # Who teaches is no part of the evaluated network.
    teacher = dict(type='MAETeacher', checkpoint='b.pth')
    taught = dict(model, target_generator=teacher, teacher=teacher, distill_weight=2)
    assert differences(taught, model) == differences(model, taught) == []
    # Of another class all is different, which is said once.
    other = changed(same, **{'backbone.type': 'Conv', 'backbone.dims': [1]})
    (found,) = differences(model, other)
    assert str(found) == "model.backbone.type is 'Linear' there, 'Conv' here"


@pytest.mark.parametrize(
    'text',
    [
        '',
        'model = dict(type=',
        'model = 3',
        "model = dict(type='A', a=open('ran', 'w'))",
        "open('ran', 'w')\nmodel = dict(type='A')",
        "import os\nmodel = dict(type='A')",
        "_base_ = 'a.py'\nmodel = dict(type='A')",
        "model = dict(**dict(type='A'))",
        'model = ' + '(' * 300,
        b'\xff\xfe model',
        None,
    ],
)
def test_what_is_no_dump_is_left_alone(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'given.py'
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert read_dump(str(path)) is None
    with compare_dump(Config(dict(model=dict(type='B'))), 'epoch_1.pth'):
        pass
    assert not (tmp_path / 'ran').exists()


def test_dicts_in_all_of_mmengines_spellings(tmp_path):
    path = tmp_path / 'a.py'
    model = {'type': 'A', 'b': {'1x': -2.5, 'c': [(1, None), {'d': True}]}, 'e': {}}
    Config(dict(model=model, other=float('inf'))).dump(str(path))
    assert read_dump(str(path)) == dict(model=model)
    path.write_text("model = dict({'type': 'A'})\ndata_preprocessor = dict(mean=[1])")
    assert read_dump(str(path))['data_preprocessor'] == dict(mean=[1])


def test_which_file_is_the_dump(tmp_path):
    cfg = Config(dict(), '#', '/elsewhere/mine.py')
    checkpoint = str(tmp_path / 'epoch_1.pth')
    other, own = tmp_path / 'other.py', tmp_path / 'mine.py'
    assert find_dump(cfg, checkpoint) is None
    other.touch()
    assert find_dump(cfg, checkpoint) == str(other)  # the only one
    (tmp_path / 'third.py').touch()
    assert find_dump(cfg, checkpoint) is None
    own.touch()
    assert find_dump(cfg, checkpoint) == str(own)
    # What was given may have been changed by options.
    assert find_dump(Config(dict(), '#', str(own)), checkpoint) == str(own)
    assert find_dump(cfg, f'https://{tmp_path}/epoch_1.pth') is None


def test_a_warning_or_a_line_of_the_error(tmp_path, capsys):
    given, folder = tmp_path / 'given.py', tmp_path / 'run'
    folder.mkdir()
    checkpoint = str(folder / 'epoch_1.pth')
    torch.save({}, checkpoint)
    Config(dict(model=small_model())).dump(str(given))
    options = {f'model.backbone.{name}': 3 for name in ('a', 'b', 'c', 'd')}
    cfg = Config.fromfile(given)
    cfg.merge_from_dict(options)
    cfg.dump(str(folder / 'given.py'))
    said = rf'is not that of {given}: model\.backbone\.a is 3 there, not set here; '
    said += r'model\.backbone\.b .*; and 1 more\. If the .* give that config\.'
    for kind in (ValueError, Failure):
        with (
            pytest.raises(kind, match=rf'^It does not fit\.\nAnd\n.*{said}$'),
            compare_dump(Config.fromfile(given), checkpoint),
        ):
            raise kind('It does not fit.\nAnd\nmore')
    # Errors that have nothing to do with it stay as they are.
    with (
        pytest.raises(OSError, match='^disk$'),
        compare_dump(Config.fromfile(given), checkpoint),
    ):
        raise OSError('disk')
    assert capsys.readouterr().err == ''
    with evaluated_config(str(given), checkpoint) as config:
        assert config.model == small_model()
    printed = capsys.readouterr().err
    assert printed.startswith(f'warning: The model of {folder}/given.py, which lies')
    assert printed.count('\n') == 1
    with compare_dump(cfg, checkpoint):
        pass
    for name in ('auto', 'timm::resnet18'):
        with evaluated_config(name, checkpoint) as config:
            assert config == name
    assert capsys.readouterr().err == ''
    # A damaged checkpoint is no matter of the config.
    (folder / 'epoch_1.pth').write_bytes(b'')
    with (
        pytest.raises(ValueError, match='^empty$'),
        compare_dump(Config.fromfile(given), checkpoint),
    ):
        raise ValueError('empty')


def test_options_on_the_dumped_config_itself_are_seen(tmp_path, capsys):
    path = tmp_path / 'own.py'
    path.write_text("model = dict(type='EsViT', head=dict(student_temp=0.1))\n")
    checkpoint = str(tmp_path / 'epoch_1.pth')
    config = Config.fromfile(str(path))
    with compare_dump(config, checkpoint):
        pass
    assert capsys.readouterr().err == ''
    config.merge_from_dict({'model.head.student_temp': 0.2})
    with compare_dump(config, checkpoint):
        pass
    assert 'student_temp is 0.1 there, 0.2 here' in capsys.readouterr().err
