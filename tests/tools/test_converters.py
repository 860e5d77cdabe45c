"""Converters and feature extraction, as a user calls them."""

import errno
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from mmpretrain.registry import MODELS
from PIL import Image
from safetensors.torch import load_file
from support.tools import run, saved_model, tool
from support.training import small_model

from esvit_plugin import get_model
from esvit_plugin.commands.throughput import table
from esvit_plugin.evaluation.throughput import measure_backbone

SWIN_T = dict(type='EsViTSwin', arch='tiny', window_size=7)
DEIT = dict(type='VisionTransformer', arch='deit-tiny', out_type='raw')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('backbone', 'width', 'name', 'options'),
    [
        (SWIN_T, 768, 'swin_tiny_patch4_window7_224', {}),
        (
            {**SWIN_T, 'window_size': 14},
            768,
            'swin_tiny_patch4_window7_224',
            dict(window_size=14),
        ),
        (DEIT, 192, 'deit_tiny_patch16_224', {}),
    ],
)
def test_timm_gives_the_same_features(tmp_path, backbone, width, name, options):
    config, checkpoint, model = saved_model(tmp_path, backbone, width)
    path = tmp_path / 'timm.pth'
    output = run('model_converters/to_timm.py', config, checkpoint, path)
    assert f"timm.create_model(model_name='{name}', num_classes=0" in output
    other = timm.create_model(name, num_classes=0, **options)
    other.load_state_dict(torch.load(path, weights_only=True), strict=True)
    other.eval()
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        theirs = other.forward_features(x)
        view, regions = model.encode(x)
    if theirs.dim() == 4:
        torch.testing.assert_close(theirs.flatten(1, 2), regions, atol=1e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(theirs[:, 0], view, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(theirs[:, 1:], regions, atol=1e-4, rtol=1e-4)


def test_what_timm_does_not_have_is_refused(tmp_path):
    backbone = dict(type='ResNet', depth=18)
    config, checkpoint, _ = saved_model(tmp_path, backbone, 512)
    path = tmp_path / 'timm.pth'
    with pytest.raises(ValueError, match='timm has no equal of ResNet'):
        run('model_converters/to_timm.py', config, checkpoint, path)
    assert not path.exists()


def test_safetensors_are_what_their_name_says(tmp_path, monkeypatch):
    backbone = dict(SWIN_T, arch=dict(embed_dims=12, depths=[1, 1], num_heads=[1, 2]))
    backbone.update(out_indices=(1,), img_size=56)
    config, checkpoint, model = saved_model(tmp_path, backbone, 24)
    path = tmp_path / 'timm.safetensors'
    output = run('model_converters/to_timm.py', config, checkpoint, path)
    weights = load_file(path)
    # What is printed can be typed.
    lines = [line.strip() for line in output.splitlines() if line.startswith('    ')]
    names = dict(timm=timm, safetensors=safetensors)
    exec('\n'.join(lines), names)
    other = names['model'].eval()
    assert other.state_dict().keys() == weights.keys()
    images = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        theirs = other.forward_features(images).flatten(1, 2)
        torch.testing.assert_close(
            theirs, model.encode(images)[1], atol=1e-4, rtol=1e-4
        )
    # The backbone alone, which get_model takes.
    path = tmp_path / 'backbone.safetensors'
    run('model_converters/extract_backbone.py', checkpoint, path)
    mine = model.get_backbone().state_dict()
    assert load_file(path).keys() == mine.keys()
    loaded = get_model(config, path).get_backbone().state_dict()
    for name, value in mine.items():
        assert torch.equal(loaded[name], value), name
    # A file that is there stays until a new one is whole.
    before = path.read_bytes()
    full = mock.Mock(side_effect=OSError(errno.ENOSPC, 'No space left'))
    monkeypatch.setattr('safetensors.torch.save', full)
    with pytest.raises(OSError, match=r'backbone\.safetensors cannot .*: No space le'):
        run('model_converters/extract_backbone.py', checkpoint, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize('student', [True, False])
def test_the_backbone_alone(tmp_path, student):
    _, checkpoint, model = saved_model(tmp_path)
    path = tmp_path / 'backbone.pth'
    options = ['--student'] if student else []
    run('model_converters/extract_backbone.py', checkpoint, path, *options)
    backbone = MODELS.build(
        dict(
            small_model()['backbone'],
            init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        )
    )
    backbone.init_weights()
    source = model.backbone if student else model.teacher['backbone']
    for name, value in source.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name
    torch.save(dict(state_dict=backbone.state_dict()), checkpoint)
    with pytest.raises(ValueError, match='name begins with teacher.backbone.'):
        run('model_converters/extract_backbone.py', checkpoint, path)


def test_features_of_images(tmp_path):
    config, checkpoint, model = saved_model(tmp_path)
    folder = tmp_path / 'images' / 'deep'
    folder.mkdir(parents=True)
    rng = np.random.RandomState(0)
    for name in ('b.png', 'a.png', 'c.JPG'):
        cv2.imwrite(str(folder / name), rng.randint(0, 255, (90, 80, 3), np.uint8))
    (folder / 'bad.png').write_bytes(b'no image')
    single = folder / 'b.png'
    out = tmp_path / 'out.npz'
    output = run(
        'extract_features.py',
        config,
        checkpoint,
        folder.parent,
        single,
        '-o',
        out,
        '--size=64',
        '--batch-size=2',
        '--num-workers=0',
    )
    assert '1 of 5 images are not in it' in output
    assert str(folder / 'bad.png') in output
    found = np.load(out)
    names = [Path(path).name for path in found['paths']]
    assert names == ['a.png', 'b.png', 'c.JPG', 'b.png']
    np.testing.assert_allclose(found['pooled'][1], found['pooled'][3], atol=1e-5)
    assert found['regions'].shape == (4, 4, 128)
    np.testing.assert_allclose(found['regions'].mean(1), found['pooled'], atol=1e-5)
    assert found['last_blocks'].shape == (4, 32 + 64 + 64 + 128)
    np.testing.assert_allclose(
        found['last_blocks'][:, -128:], found['pooled'], atol=1e-4
    )
    # By hand: the shorter side to 73 px, the 64 px in the middle.
    image = cv2.cvtColor(cv2.imread(str(single)), cv2.COLOR_BGR2RGB)
    image = np.array(Image.fromarray(image).resize((73, 82), Image.BICUBIC))
    image = torch.from_numpy(image[9:73, 4:68, ::-1].copy()).permute(2, 0, 1)
    with torch.no_grad():
        pooled = model.extract_feat(image[None].float())
    np.testing.assert_allclose(found['pooled'][1], pooled[0], atol=1e-4)


@pytest.mark.slow
def test_features_of_nothing_are_refused(tmp_path, capsys):
    config, checkpoint, _ = saved_model(tmp_path)
    args = (config, checkpoint)
    with pytest.raises(FileNotFoundError, match='no image or folder nowhere'):
        run('extract_features.py', *args, 'nowhere', '-o', tmp_path / 'out.npz')
    (tmp_path / 'bad.png').write_bytes(b'no image')
    for workers in (0, 2):
        with pytest.raises(ValueError, match='None of the 1 images could be read'):
            out = ('-o', tmp_path / 'out.npz', f'--num-workers={workers}')
            run('extract_features.py', *args, tmp_path / 'bad.png', *out)
    assert not (tmp_path / 'out.npz').exists()
    with pytest.raises(ValueError, match='--batch-size must be >= 1, got 0'):
        run('extract_features.py', *args, tmp_path, '-o', 'o.npz', '--batch-size=0')
    with pytest.raises(SystemExit):
        run('extract_features.py', *args, tmp_path, '-o', 'out.txt')
    assert '--out must be an .npz file: out.txt' in capsys.readouterr().err


def test_files_that_are_read_are_not_overwritten(tmp_path):
    config, checkpoint, _ = saved_model(tmp_path)
    before = checkpoint.read_bytes()
    link = tmp_path / 'link.pth'
    link.symlink_to(checkpoint)
    for call in (
        ('model_converters/extract_backbone.py', checkpoint),
        ('model_converters/to_timm.py', config, checkpoint),
        ('model_converters/esvit_to_mmpretrain.py', checkpoint),
    ):
        for out in (checkpoint, link):
            with pytest.raises(ValueError, match='is what is read, and is not overwr'):
                run(*call, out)
        with pytest.raises(NotADirectoryError, match='checkpoint.pth is no folder'):
            run(*call, checkpoint / 'out.pth')
        with pytest.raises(ValueError, match='is a folder; name a file to write'):
            run(*call, tmp_path)
    assert checkpoint.read_bytes() == before


def test_damaged_weights_are_refused(tmp_path):
    config, checkpoint, model = saved_model(tmp_path)
    state = dict(model.state_dict())
    state['teacher.backbone.norm3.weight'] = torch.full((128,), torch.nan)
    torch.save(dict(state_dict=state), checkpoint)
    out = tmp_path / 'out.npz'
    calls = (
        ('model_converters/extract_backbone.py', checkpoint, out),
        ('model_converters/to_timm.py', config, checkpoint, out),
        ('extract_features.py', config, checkpoint, tmp_path, '-o', out),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r'not finite in teacher\.backbone\.norm3'):
            run(*call)
    for content, message in (
        ([1, 2], 'no checkpoint: it holds a list'),
        (dict(state_dict=dict(a=1)), 'has no weights'),
        (dict(meta=dict(epoch=1)), r"has no weights .* only \['meta'\]"),
    ):
        torch.save(content, checkpoint)
        with pytest.raises(ValueError, match=message):
            run(*calls[0])
    assert not out.exists()


def test_a_failing_write_keeps_the_older_file(tmp_path):
    _, checkpoint, _ = saved_model(tmp_path)
    out = tmp_path / 'out.pth'
    out.write_bytes(b'older')
    save = mock.Mock(side_effect=OSError(28, 'No space left on device'))
    with mock.patch('torch.save', save), pytest.raises(OSError, match='No space'):
        run('model_converters/extract_backbone.py', checkpoint, out)
    assert out.read_bytes() == b'older'
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'checkpoint.pth',
        'config.py',
        'out.pth',
    ]


def test_an_interruption_leaves_whole_features_alone(tmp_path):
    config, checkpoint, model = saved_model(tmp_path)
    for name in 'abc':
        image = np.random.randint(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'{name}.png'), image)
    out, part = tmp_path / 'out.npz', tmp_path / 'out.partial.npz'
    options = ('--size=64', '--batch-size=1', '--num-workers=0', '--keys', 'pooled')
    args = ('extract_features.py', config, checkpoint, tmp_path, '-o', out, *options)
    backbone, calls = type(model.backbone), []
    forward = backbone.forward

    def interrupted(self, *args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(self, *args)

    out.write_bytes(b'older')
    with (
        mock.patch.object(backbone, 'forward', interrupted),
        pytest.raises(SystemExit) as end,
    ):
        run(*args)
    assert end.value.code == 130
    assert out.read_bytes() == b'older'
    assert len(np.load(part)['pooled']) == 2
    run(*args)
    assert len(np.load(out)['pooled']) == 3
    assert not part.exists()


@pytest.mark.slow
def test_throughput(tmp_path):
    config, _, model = saved_model(tmp_path)
    output = tool(
        'analysis_tools/throughput.py',
        config,
        '--batch-size=2',
        '--size=64',
        '--seconds=0.1',
        '--device=cpu',
        '--cfg-options',
        'model.backbone.drop_path_rate=0.1',
    )
    lines = [line.split(' | ') for line in output.splitlines() if line[:2] == '| ']
    millions = sum(p.numel() for p in model.backbone.parameters()) / 1e6
    assert lines[0][2] == 'FLOPs (G)'
    assert float(lines[1][1]) == pytest.approx(millions, abs=0.06)
    assert float(lines[1][3]) > 0
    # What the process of each model does, here
    name = 'timm::resnet10t'
    row = measure_backbone(name, batch_size=2, size=64, seconds=0.1)
    assert row.flops > 0.05 and row.images_per_s > 0
    assert table({name: [row]}).splitlines()[2].startswith(f'| {name} | ')
    narrow = {'model.backbone.arch.depths': [1, 1, 1, 1]}
    row = measure_backbone(str(config), 2, 64, seconds=0.1, options=narrow)
    assert row.parameters < 0.9 * millions
    # What the paper says is of the backbone as it is.
    cells = [table({'esvit_swin_t': [row]}, changed) for changed in (False, True)]
    assert [cell.splitlines()[2].split(' | ')[4] for cell in cells] == ['808', '']
    with pytest.raises(ValueError, match='--cfg-options a: timm::resnet10t is no conf'):
        run('analysis_tools/throughput.py', name, '--cfg-options', 'a=1')
    with pytest.raises(ValueError, match="no config of the name 'esvit_huge'"):
        run('analysis_tools/throughput.py', 'esvit_huge')
