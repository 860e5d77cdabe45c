"""The tools that measure and draw what a model learnt, as a user calls them."""

import json
from unittest import mock

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from support.backbones import BACKBONES
from support.tools import is_drawn, run, saved_model

from esvit_plugin.datasets import load_photo
from esvit_plugin.evaluation import (
    cropped_copy,
    last_attention,
    match_accuracy,
    match_regions,
    mirrored_copy,
    region_map,
)
from esvit_plugin.evaluation.images import model_inputs, open_images
from esvit_plugin.visualization import draw_attention

FOLDER = 'analysis_tools'


@pytest.fixture
def images(tmp_path):
    """A folder of two photographs and a damaged file."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for name in ('astronaut', 'coffee'):
        Image.fromarray(load_photo(name)).save(folder / f'{name}.png')
    (folder / 'bad.png').write_bytes(b'no image')
    return folder


def refused(message, capsys, *args):
    """Whether a tool ends with a usage error that has this message."""
    with pytest.raises(SystemExit):
        run(*args)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('network', ['teacher', 'student'])
def test_correspondence(tmp_path, images, network):
    config, checkpoint, model = saved_model(tmp_path)
    out = tmp_path / 'out' / 'deep'
    options = ['--student'] if network == 'student' else []
    output = run(
        f'{FOLDER}/correspondence.py',
        config,
        checkpoint,
        images,
        '-o',
        out,
        '--size=128',
        '--seed=3',
        '--num-pictures=1',
        *options,
    )
    found = json.loads((out / 'correspondence.json').read_text())
    assert found['network'] == network and found['size'] == 128
    # By hand, on the grid of 4x4 regions of 32 px.
    for number, (path, image) in enumerate(open_images([str(images)], 128)):
        copy = mirrored_copy(image, np.random.default_rng([3, number]))
        maps = [region_map(model, view, network) for view in (image, copy)]
        accuracy, error = match_accuracy(*maps, 10)
        row = found['images'][number]
        assert row['path'] == path and row['accuracy'] == pytest.approx(accuracy)
        assert row['pixel_error'] == pytest.approx(32 * error, rel=1e-4)
        assert f'accuracy {accuracy:5.1f} %' in output
    assert len(found['images']) == 2
    mean = np.mean([row['pixel_error'] for row in found['images']])
    assert found['mean']['pixel_error'] == pytest.approx(mean)
    assert f'error {mean:6.1f} px   similarity ' in output
    assert f'mean of 2 images, {network}' in output
    assert found['grid'] == [4, 4] and found['chance'] == 6.25
    first, second = (row['accuracy'] for row in found['images'])
    assert found['standard_error']['accuracy'] == pytest.approx(abs(first - second) / 2)
    assert 'by chance 6.2 % (one of 4 x 4 regions)' in output
    assert [path.name for path in out.glob('*.png')] == [
        'correspondence_0_astronaut.png'
    ]
    assert is_drawn(out / 'correspondence_0_astronaut.png')


def test_correspondence_of_nothing_is_refused(tmp_path, capsys):
    config, checkpoint, _ = saved_model(tmp_path)
    tool = f'{FOLDER}/correspondence.py'
    args = (tool, config, checkpoint)
    out = tmp_path / 'out'
    with pytest.raises(FileNotFoundError, match='no image or folder nowhere'):
        run(*args, 'nowhere', '-o', out)
    refused(
        '--num-matches must be >= 1: 0',
        capsys,
        *args,
        'moon',
        '-o',
        out,
        '--num-matches=0',
    )
    refused('must be a folder, not a file', capsys, *args, 'moon', '-o', config)
    (tmp_path / 'bad.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='No image could be read'):
        run(*args, tmp_path / 'bad.png', '-o', out)
    assert not list(out.glob('*'))
    with pytest.raises(ValueError, match='Fewer than the two images that'):
        run(*args, 'moon', '-o', out, '--pairs=other')
    refused("invalid choice: 'flip'", capsys, *args, 'moon', '-o', out, '--pairs=flip')
    refused(
        '--jitter-prob must lie between 0 and 1: 2.0',
        capsys,
        *args,
        'moon',
        '-o',
        out,
        '--jitter-prob=2',
    )


@pytest.mark.slow
def test_correspondence_with_a_crop_and_with_another_image(tmp_path):
    config, checkpoint, model = saved_model(tmp_path)
    out = tmp_path / 'out'
    names = ['moon', 'coffee', 'chelsea']
    tool = f'{FOLDER}/correspondence.py'
    args = (tool, config, checkpoint, *names, '-o', out, '--size=128')
    output = run(*args, '--pairs=crop', '--seed=5')
    found = json.loads((out / 'correspondence.json').read_text())
    assert found['pairs'] == 'crop' and found['jitter_prob'] == 0.8
    # Of a crop more than one region may lie at the true place.
    assert 'chance' not in found and 'by chance' not in output
    for number, (_, image) in enumerate(open_images(names, 128)):
        view, place = cropped_copy(image, np.random.default_rng([5, number]))
        maps = [region_map(model, one) for one in (image, view)]
        matches = match_regions(*maps, 10, (32, 32), place)
        row = found['images'][number]
        assert row['accuracy'] == pytest.approx(matches.accuracy)
        assert row['pixel_error'] == pytest.approx(matches.error, rel=1e-4)
        assert row['similarity'] == pytest.approx(matches.similarity, rel=1e-4)
        assert row['box'] == pytest.approx(place[:4])
        assert f'similarity {matches.similarity:6.3f}' in output
    output = run(*args, '--pairs=other')
    found = json.loads((out / 'correspondence.json').read_text())
    pairs = [(row['path'], row['other']) for row in found['images']]
    assert pairs == [('moon', 'coffee'), ('coffee', 'chelsea')]
    assert list(found['mean']) == ['similarity']
    assert 'accuracy' not in output and 'mean of 2 pairs, teacher' in output
    assert is_drawn(out / 'correspondence_1_coffee_chelsea.png')


@pytest.fixture
def others(tmp_path):
    """Config and checkpoint of a classifier, of a model of timm and of a plain one."""
    vit = {**BACKBONES['DeiT'][0], 'out_type': 'cls_token', 'img_size': 128}
    head = dict(type='LinearClsHead', num_classes=5, in_channels=32)
    cfg = dict(type='ImageClassifier', backbone=vit, head=head)
    Config(dict(model=cfg)).dump(str(tmp_path / 'vit.py'))
    torch.save(dict(state_dict=MODELS.build(cfg).state_dict()), tmp_path / 'vit.pth')
    small = timm.create_model('resnet10t')
    torch.save(small.state_dict(), tmp_path / 'resnet10t.pth')
    plain = timm.models.SwinTransformer(
        128, embed_dim=16, depths=(1, 1, 1), num_heads=(1, 2, 4), window_size=4
    )
    torch.save(dict(model=plain.state_dict()), tmp_path / 'swin.pth')
    return {
        'mmpretrain': (tmp_path / 'vit.py', tmp_path / 'vit.pth'),
        'timm': ('timm::resnet10t', tmp_path / 'resnet10t.pth'),
        'plain': ('auto', tmp_path / 'swin.pth'),
    }


@pytest.mark.parametrize('kind', ['mmpretrain', 'timm', 'plain'])
def test_correspondence_of_other_models(tmp_path, others, kind):
    tool = (f'{FOLDER}/correspondence.py', *others[kind], 'moon', '-o', tmp_path)
    output = run(*tool, '--size=128', '--num-pictures=0')
    assert 'mean of 1 images, backbone' in output
    with pytest.raises(ValueError, match='has no student'):
        run(*tool, '--student')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'queries', 'lines'),
    [
        ('EsViTSwin', [], 5),
        ('ViL', ['0,0', '3,2'], 2),
        ('CvT', ['3,3'], 1),
        ('DeiT', ['cls'], 1),
    ],
)
def test_attention_maps(tmp_path, images, name, queries, lines):
    config, checkpoint, _ = saved_model(tmp_path, *BACKBONES[name])
    out = tmp_path / 'out'
    options = ['--queries', *queries] if queries else []
    output = run(
        f'{FOLDER}/attention_maps.py',
        config,
        checkpoint,
        images,
        'moon',
        '-o',
        out,
        '--size=128',
        *options,
    )
    grid = '8x8' if name == 'DeiT' else '4x4'
    assert output.count(f'{grid} positions, {lines} queries\n') == 3
    assert output.count(f'{grid} positions, {lines} queries, 60 % of the mass') == 3
    paths = sorted(out.glob('*.png'))
    assert [path.name for path in paths] == [
        f'{kind}_{image}.png'
        for kind in ('attention', 'masks')
        for image in ('0_astronaut', '1_coffee', '2_moon')
    ]
    assert all(is_drawn(path) for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize('order', ['entropy', 'number'])
def test_the_entropy_is_of_all_images(tmp_path, images, order):
    config, checkpoint, model = saved_model(tmp_path, *BACKBONES['DeiT'])
    out = tmp_path / 'out'
    tool = (f'{FOLDER}/attention_maps.py', config, checkpoint, images, 'moon')
    drawn = []

    def draw(*args, **kwargs):
        drawn.append(kwargs)
        return draw_attention(*args, **kwargs)

    with mock.patch('esvit_plugin.commands.attention.draw_attention', draw):
        options = ('--size=64', '--num-pictures=1', '--mass=0.3', f'--order={order}')
        output = run(*tool, '-o', out, *options)
    found = json.loads((out / 'attention.json').read_text())
    backbone = model.teacher['backbone']
    plain = []
    for _, image in open_images([str(images), 'moon'], 64):
        weights = last_attention(backbone, model_inputs(model, image)).weights[0]
        plain.append(-(weights * weights.log()).sum(-1).mean(-1))
    entropy = torch.stack(plain).mean(0).tolist()
    assert found['entropy'] == pytest.approx(entropy, rel=1e-4)
    assert found['num_images'] == 3
    assert found['mean_entropy'] == pytest.approx(np.mean(entropy), rel=1e-4)
    by_entropy = np.argsort(entropy).tolist()
    assert found['heads_by_entropy'] == [head + 1 for head in by_entropy]
    for head in by_entropy:
        assert f'head {head + 1:<3} entropy {entropy[head]:6.3f} nats' in output
    assert [kwargs['mass'] for kwargs in drawn] == [None, 0.3]
    expected = by_entropy if order == 'entropy' else None
    assert all(kwargs['heads'] == expected for kwargs in drawn)
    assert len(list(out.glob('*.png'))) == 2


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['mmpretrain', 'plain', 'timm'])
def test_attention_of_other_models(tmp_path, others, kind):
    tool = (f'{FOLDER}/attention_maps.py', *others[kind], 'moon', '-o', tmp_path)
    if kind == 'timm':
        with pytest.raises(ValueError, match='attention of a TIMMBackbone cannot'):
            run(*tool)
        return
    output = run(*tool, '--size=128')
    assert output.count('8x8 positions') == 2 and '1 images, backbone' in output


def test_a_share_that_is_none_is_refused(tmp_path, capsys):
    tool = (f'{FOLDER}/attention_maps.py', 'a.py', 'b.pth', 'moon', '-o', tmp_path)
    for mass in ('0', '1.5', 'nan'):
        message = f'--mass must be above 0 and at most 1: {float(mass)}'
        refused(message, capsys, *tool, f'--mass={mass}')


@pytest.mark.slow
def test_wrong_queries_and_backbones_are_refused(tmp_path, capsys):
    tool = f'{FOLDER}/attention_maps.py'
    config, checkpoint, _ = saved_model(tmp_path)
    out = ('-o', tmp_path / 'out', '--size=224')
    args = (tool, config, checkpoint, 'moon', *out, '--queries')
    refused("a query is ROW,COL, e.g. 3,3, or cls: '3'", capsys, *args, '3')
    with pytest.raises(ValueError, match='7,0 lies outside .* rows are 0 to 6'):
        run(*args, '7,0')
    with pytest.raises(ValueError, match="no query 'cls'"):
        run(*args, 'cls')
    config, checkpoint, _ = saved_model(tmp_path, *BACKBONES['ResNet'])
    with pytest.raises(ValueError, match='attention of a ResNet cannot be shown'):
        run(*args, '0,0')
    assert not (tmp_path / 'out').exists()


def features(path, folders, **arrays):
    """What tools/extract_features.py writes, with one cluster for each folder."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(folders)), 12)
    pooled = 8 * rng.normal(size=(len(folders), 16))[labels]
    pooled = pooled + rng.normal(size=pooled.shape)
    paths = [f'data/{folders[label]}/{i}.jpg' for i, label in enumerate(labels)]
    np.savez(path, paths=np.array(paths), pooled=pooled, **arrays)


def test_embedding(tmp_path, capsys):
    path, out = tmp_path / 'features.npz', tmp_path / 'out.png'
    features(path, ['cats', 'dogs/big', 'dogs/small'], regions=np.zeros((36, 4, 16)))
    tool = f'{FOLDER}/embedding.py'
    draw = mock.Mock(side_effect=SystemExit)
    patch = mock.patch('esvit_plugin.commands.embedding.draw_embedding', draw)
    with patch, pytest.raises(SystemExit):
        run(tool, path, '-o', out)
    points, labels, title = draw.call_args.args
    assert set(labels) == {'cats', 'dogs'}
    assert title == 't-SNE of pooled features, 36 images'
    # The clusters stay apart: the nearest neighbour is of the same folder.
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (np.array(labels)[distance.argmin(1)] == np.array(labels)).all()
    options = ('--num-images=20', '--level=-1')
    assert '20 images of 3 classes' in run(tool, path, '-o', out, *options)
    assert is_drawn(out)
    with pytest.raises(ValueError, match="features 'regions' .* it has pooled of"):
        run(tool, path, '-o', out, '--key=regions')
    with pytest.raises(FileNotFoundError, match='no file nowhere.npz'):
        run(tool, 'nowhere.npz', '-o', out)
    refused('must be a .png file', capsys, tool, path, '-o', tmp_path / 'out.jpg')
    refused('--level must be 1 or more', capsys, tool, path, '-o', out, '--level=0')
    with mock.patch('esvit_plugin.commands.embedding.find_spec', return_value=None):
        refused(
            '--method umap needs umap: pip install umap-learn',
            capsys,
            tool,
            path,
            '-o',
            out,
            '--method=umap',
        )
    older = out.read_bytes()
    for content in (b'no archive', b''):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='is no .npz file of numbers') as error:
            run(tool, path, '-o', out)
        assert 'pickle' not in str(error.value)
    np.savez(path, paths=np.array(['a.jpg'] * 4), pooled=np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="features 'pooled' that are not finite"):
        run(tool, path, '-o', out)
    assert out.read_bytes() == older
    np.savez(path, paths=np.array(['a/1.jpg'] * 2), pooled=np.ones((2, 4)))
    with pytest.raises(ValueError, match='at least 4 images, got 2'):
        run(tool, path, '-o', out)


def test_learning_curves(tmp_path, capsys):
    for run_name, key in (('swin', 'loss_region'), ('vil', 'loss_view')):
        log = tmp_path / run_name / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        records = [
            {'loss': 1 / i, key: 2 / i, 'iter': i, 'step': i} for i in range(1, 9)
        ]
        log.write_text('\n'.join(map(json.dumps, records)))
    tool, out = f'{FOLDER}/learning_curves.py', tmp_path / 'out.png'
    args = (tool, tmp_path / 'swin', tmp_path / 'vil', '-o', out, '--keys')
    output = run(*args, 'loss', 'loss_region')
    assert 'vil has no loss_region.' in output
    assert 'loss, loss_region of swin, vil' in output
    assert is_drawn(out)
    args = (tool, tmp_path / 'swin', '-o', out)
    assert 'loss_region of swin' in run(*args, '--baselines', 'raw pixels=40')
    refused('NAME=PERCENT', capsys, *args, '--baselines', 'raw pixels')
    args = (tool, tmp_path / 'swin', tmp_path / 'vil', '-o', out, '--keys')
    with pytest.raises(ValueError, match="key 'los'; .* iter, loss, loss_region, loss"):
        run(*args, 'los')
    refused('must be a .png file', capsys, tool, tmp_path / 'vil', '-o', tmp_path)
    log.write_text('')
    with pytest.raises(ValueError, match='vil: nothing is logged there yet'):
        run(tool, tmp_path / 'vil', '-o', out)
