"""The tools that look at all layers of vision transformers, as a user calls them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from support.backbones import BACKBONES
from support.tools import is_drawn, run, saved_model

from esvit_plugin import load_backbone
from esvit_plugin.evaluation import attention_spread, layer_cka
from esvit_plugin.evaluation.images import open_images
from esvit_plugin.evaluation.options import chosen_size

CKA = 'analysis_tools/cka.py'
DISTANCE = 'analysis_tools/attention_distance.py'
PHOTOS = ('astronaut', 'chelsea', 'coffee', 'moon', 'rocket')
DEIT = BACKBONES['DeiT']


@pytest.fixture
def trained(tmp_path):
    """Config and checkpoint of an EsViT with a plain ViT."""
    config, checkpoint, _ = saved_model(tmp_path, *DEIT)
    return config, checkpoint


@pytest.fixture
def classifier(tmp_path):
    """Config and checkpoint of a classifier with a deeper ViT."""
    arch = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
    vit = {**DEIT[0], 'arch': arch, 'out_type': 'cls_token'}
    head = dict(type='LinearClsHead', num_classes=5, in_channels=16)
    cfg = dict(type='ImageClassifier', backbone=vit, head=head)
    Config(dict(model=cfg)).dump(str(tmp_path / 'vit.py'))
    torch.save(dict(state_dict=MODELS.build(cfg).state_dict()), tmp_path / 'vit.pth')
    return tmp_path / 'vit.py', tmp_path / 'vit.pth'


def refused(message, capsys, *args):
    with pytest.raises(SystemExit):
        run(*args)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_cka_of_two_models(tmp_path, trained, classifier):
    out = tmp_path / 'out' / 'deep'
    output = run(CKA, *trained, *classifier, *PHOTOS, '-o', out, '--size=64')
    found = json.loads((out / 'cka.json').read_text())
    assert found['first']['network'] == 'teacher'
    assert found['second'] == dict(
        config=str(classifier[0]), checkpoint=str(classifier[1]), network='backbone'
    )
    models = [load_backbone(*pair) for pair in (trained, classifier)]
    cka = layer_cka(*models, open_images(PHOTOS, 64)).cka
    np.testing.assert_allclose(found['cka'], cka, rtol=1e-5)
    assert cka.shape == (3, 4)
    best = int(cka[1].argmax())
    line = f'block 1   is most like block {best:<3} CKA {cka[1, best]:.3f}'
    assert line in output and '5 images\n' in output
    assert is_drawn(out / 'cka.png')


@pytest.mark.slow
def test_cka_of_teacher_and_student(tmp_path, trained):
    args = (CKA, *trained, *trained, *PHOTOS, '-o', tmp_path, '--size=64')
    output = run(*args, '--batch-size=4')
    found = json.loads((tmp_path / 'cka.json').read_text())
    np.testing.assert_allclose(np.diag(found['cka']), 1, rtol=1e-6)
    assert found['num_images'] == 4 and '4 images, 1 left out' in output
    options = ('--other-student', '--other-cfg-options', 'model.backbone.drop_rate=0.1')
    run(*args, *options)
    found = json.loads((tmp_path / 'cka.json').read_text())
    assert found['second']['network'] == 'student'
    assert found['second']['cfg_options'] == {'model.backbone.drop_rate': 0.1}
    assert 'cfg_options' not in found['first']
    assert np.diag(found['cka']).max() < 0.999


def test_attention_distance(tmp_path, trained):
    out = tmp_path / 'out' / 'deep'
    output = run(DISTANCE, *trained, *PHOTOS[:2], '-o', out, '--size=64')
    found = json.loads((out / 'attention_distance.json').read_text())
    spread = attention_spread(load_backbone(*trained), open_images(PHOTOS[:2], 64))
    for name in ('distance', 'entropy'):
        np.testing.assert_allclose(found[name], getattr(spread, name), rtol=1e-5)
    assert found['grid'] == [4, 4] and found['num_images'] == 2
    assert found['uniform']['entropy'] == pytest.approx(np.log(16))
    assert found['network'] == 'teacher' and found['size'] == 64
    for number, heads in enumerate(spread.distance, 1):
        assert f'block {number:<3} distance {heads.mean():6.1f} px' in output
    assert is_drawn(out / 'attention_distance.png')


@pytest.mark.slow
def test_models_of_timm_are_taken(tmp_path):
    name = 'timm::vit_tiny_patch16_224'
    model = timm.create_model('vit_tiny_patch16_224')
    torch.save(model.state_dict(), tmp_path / 'tiny.pth')
    pair = (name, tmp_path / 'tiny.pth')
    run(CKA, *pair, *pair, *PHOTOS, '-o', tmp_path)
    found = json.loads((tmp_path / 'cka.json').read_text())
    assert np.shape(found['cka']) == (13, 13)
    run(DISTANCE, *pair, 'moon', '-o', tmp_path)
    found = json.loads((tmp_path / 'attention_distance.json').read_text())
    assert np.shape(found['distance']) == (12, 3)
    assert found['uniform']['entropy'] == pytest.approx(np.log(196))
    with pytest.raises(ValueError, match='does not take images of 128 x 128 px'):
        run(DISTANCE, *pair, 'moon', '-o', tmp_path, '--size=128')


@pytest.mark.slow
def test_mistakes_are_refused(tmp_path, trained, capsys):
    out = tmp_path / 'out'
    both = (CKA, *trained, *trained)
    with pytest.raises(
        FileNotFoundError, match='folder nowhere.* bundled photographs are '
    ):
        run(*both, 'nowhere', '-o', out)
    with pytest.raises(ValueError, match='at least 4 images .*, got 1'):
        run(*both, 'moon', '-o', out)
    refused(
        '--batch-size must be >= 4: 3',
        capsys,
        *both,
        'moon',
        '-o',
        out,
        '--batch-size=3',
    )
    refused('must be a folder, not a file', capsys, *both, 'moon', '-o', trained[0])
    with pytest.raises(ValueError, match='--other-cfg-options takes KEY=VALUE'):
        run(*both, 'moon', '-o', out, '--other-cfg-options', 'a')
    refused(
        '--batch-size must be >= 1: 0',
        capsys,
        DISTANCE,
        *trained,
        'moon',
        '-o',
        out,
        '--batch-size=0',
    )
    (tmp_path / 'swin').mkdir()
    config, checkpoint, _ = saved_model(tmp_path / 'swin')
    with pytest.raises(
        ValueError, match='attention distance is for plain .* EsViTSwin'
    ):
        run(DISTANCE, config, checkpoint, 'moon', '-o', out)
    with pytest.raises(
        ValueError, match='CKA between layers is for plain .* EsViTSwin'
    ):
        run(CKA, *trained, config, checkpoint, *PHOTOS, '-o', out)
    assert not out.exists()


@pytest.mark.slow
def test_images_are_as_large_as_the_backbones_are_made_for(tmp_path, trained):
    """But not so small that there is nothing to see."""
    output = run(DISTANCE, *trained, *PHOTOS[:2], '-o', tmp_path)
    assert 'Images of 224 px; --size is another' in output
    found = json.loads((tmp_path / 'attention_distance.json').read_text())
    assert found['size'] == 224 and found['grid'] == [14, 14]
    run(CKA, *trained, *trained, *PHOTOS, '-o', tmp_path)
    assert json.loads((tmp_path / 'cka.json').read_text())['size'] == 224


def test_models_of_several_sizes_need_one(capsys):
    models = [
        SimpleNamespace(backbone=SimpleNamespace(img_size=size))
        for size in (64, 256, 384)
    ]
    with pytest.raises(ValueError, match=r'images of \[224, 256, 384\] px: .* --size'):
        chosen_size(None, *models)
    assert chosen_size(80, *models) == 80
    assert capsys.readouterr().out == 'Images of 80 px\n'
