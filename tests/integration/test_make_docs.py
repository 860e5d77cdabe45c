"""The programs that write docs/, with a few crops and tools run in this process."""

import contextlib
import io
import json
import re
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from mmpretrain.registry import DATASETS
from PIL import Image
from support.paths import ROOT
from support.tools import is_drawn
from support.tools import run as run_tool

from esvit_plugin import get_model
from esvit_plugin.datasets import BundledPhotos, load_photo
from esvit_plugin.engine.configs import load_config
from esvit_plugin.evaluation import match_accuracy, mirrored_copy, region_map
from esvit_plugin.evaluation.images import open_images

MISC = ROOT / 'tools' / 'misc'
PHOTOS = ('astronaut', 'coffee')
QUICK = (
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=16',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
)


@pytest.fixture
def tools(monkeypatch, photos_once):
    """The modules, whose commands run here on two crops of each photograph."""
    monkeypatch.syspath_prepend(str(MISC))
    monkeypatch.chdir(ROOT)
    # split, crop_size, short_side, num_train, num_test, seed
    defaults = ('train', 64, 320, 2, 2, 0)
    monkeypatch.setattr(BundledPhotos.__init__, '__defaults__', defaults)
    import make_docs
    import regions_experiment
    import tool_runs

    def run(*args):
        words = [str(arg) for arg in args]
        if words[0] == '-c':
            with contextlib.redirect_stdout(io.StringIO()):
                exec(words[1], {})
            output = ''
        else:
            output = run_tool(words[0].removeprefix('tools/'), *words[1:])
        return tool_runs.Done(tool_runs._wrapped(['python', *words]), output)

    for module in (make_docs, regions_experiment, tool_runs):
        monkeypatch.setattr(module, 'run', run)
    for module in (make_docs, regions_experiment):
        monkeypatch.setattr(module, 'PHOTO_NAMES', PHOTOS)
    return tool_runs


def call(module, *args):
    argv = [str(MISC / f'{module}.py'), *(str(arg) for arg in args)]
    with mock.patch.object(sys, 'argv', argv):
        sys.modules[module].main()


def correspondence(config, checkpoint, size):
    """Accuracy and error in pixels, by hand."""
    model = get_model(config, checkpoint)
    found = []
    for number, (_, image) in enumerate(open_images(PHOTOS, size)):
        copy = mirrored_copy(image, np.random.default_rng([0, number]))
        maps = [region_map(model, view) for view in (image, copy)]
        step = size / len(maps[0])
        found.append(match_accuracy(*maps, 10, (step, step)))
    return np.mean(found, axis=0)


def rows(text):
    """The cells of a page's table, by the first of each line."""
    lines = re.findall(r'^\|(.+)\|$', text, re.M)
    cells = [[cell.strip() for cell in line.split('|')] for line in lines]
    return {line[0]: line[1:] for line in cells}


def test_the_page_of_the_demo(tools, tmp_path):
    work_dir, out = tmp_path / 'run', tmp_path / 'docs'
    args = ('--work-dir', work_dir, '-o', out, '--cfg-options', *QUICK)
    probe = ('--probe-options', 'train_cfg.max_epochs=1')

    with pytest.raises(FileNotFoundError, match='no config file .*nowhere.py'):
        call('make_docs', *args, '--datasets', tmp_path / 'nowhere.py')
    assert not work_dir.exists()
    # A tool fails: nothing is written.
    with pytest.raises(ValueError, match="unknown type 'Nothing'"):
        call('make_docs', *args, *probe, 'model.head.type=Nothing')
    assert not out.exists()
    checkpoint = work_dir / 'epoch_1.pth'
    before = checkpoint.stat().st_mtime_ns

    sets = ('--datasets', ROOT / 'configs' / 'demo' / 'transfer_photos.py')
    call('make_docs', *args, *probe, *sets)
    assert checkpoint.stat().st_mtime_ns == before  # not trained again

    text = (out / 'demo.md').read_text()
    found = rows(text)
    assert found[''] == ['random weights', 'teacher']
    folders = work_dir / 'docs' / 'random', work_dir / 'docs'
    weights = folders[0] / 'untrained.pth', checkpoint
    for column in (0, 1):
        accuracy, error = correspondence(tools.CONFIG, weights[column], 256)
        measures = [
            ('matches at the mirrored place, %', accuracy),
            ('distance of matches from it, px', error),
        ]
        transfer = json.loads((folders[column] / 'transfer.json').read_text())
        for result in transfer['results'].values():
            name = 'logistic regression, Embedded photographs, accuracy, %'
            measures.append((name, result['value']))
        logs = sorted((folders[column] / 'probe').glob('*/vis_data/scalars.json'))
        last = json.loads(logs[-1].read_text().splitlines()[-1])
        measures.append(('linear probe, top-1, %', last['accuracy/top1']))
        for name, value in measures:
            assert found[name][column] == f'{value:.1f}', name
        assert 0 <= float(found['20-NN, top-1, %'][column]) <= 100
    commands = re.findall(r'^python (\S+)', text, re.M)
    assert len(commands) == 10
    assert all(name == '-c' or (ROOT / name).is_file() for name in commands)
    for name in re.findall(r'\]\((\w+\.png)\)', text):
        assert is_drawn(out / name)
        assert (out / name).stat().st_size < 400_000
    assert len(list(out.glob('*.png'))) == 4


def test_the_page_of_the_region_task(tools, tmp_path):
    work_dir, out = tmp_path / 'runs', tmp_path / 'regions.md'
    args = ('--work-dir', work_dir, '-o', out, '--size', 128, '--copies', 1)
    options = ('--cfg-options', *QUICK)
    call('regions_experiment', *args, '--seeds', 0, *options)
    found = {
        name: json.loads((work_dir / f'{name}_0' / 'result.json').read_text())
        for name in ('random', 'view', 'both')
    }
    for name, result in found.items():
        folder = work_dir / f'{name}_0'
        config = work_dir / f'{name.replace("random", "both")}_0'
        weights = 'untrained.pth' if name == 'random' else 'epoch_1.pth'
        measures = correspondence(
            str(config / 'esvit_swin_photos.py'), folder / weights, 128
        )
        assert [result['accuracy'], result['pixel_error']] == pytest.approx(measures)
        state = torch.load(folder / weights)['state_dict']
        assert any('region' in key for key in state) == (name != 'view')
    assert 'seed=0' in found['view']['commands'][0]

    # As if seed 1 had been measured too; nothing is run again.
    for name, result in found.items():
        values = {key: result[key] + 4 for key in ('accuracy', 'pixel_error', 'knn')}
        settings = json.loads(
            json.dumps(result['settings']).replace('seed=0', 'seed=1')
        )
        (work_dir / f'{name}_1').mkdir()
        (work_dir / f'{name}_1' / 'result.json').write_text(
            json.dumps({**result, **values, 'settings': settings})
        )
    with mock.patch('regions_experiment.run', side_effect=AssertionError):
        call('regions_experiment', *args, '--seeds', 0, 1, *options)
        text = out.read_text()
        with pytest.raises(ValueError, match=r'both_0/result.json is of .*remove the'):
            call('regions_experiment', *args, '--seeds', 0, 1)
    knn = found['both']['knn']
    cell = rows(text)['view and region task (V+R)'][2]
    # The standard deviation of two values that differ by 4.
    assert cell == f'{knn + 2:.1f} ± 2.8 ({knn:.1f}, {knn + 4:.1f})'
    change = knn - found['view']['knn']
    higher = 2 if change > 0 else 0
    assert (
        f'V+R minus V is {change:.1f} ± 0.0 ({change:.1f}, {change:.1f}); V+R is '
        f'higher for {higher} of 2 seeds.'
    ) in text
    assert all(command in text for command in found['view']['commands'])


def test_a_command_is_shown_and_its_failure_raised(capfd, monkeypatch):
    monkeypatch.syspath_prepend(str(MISC))
    import tool_runs

    done = tool_runs.run('-c', 'print("loss 1.5"); print("loss 2")')
    assert done.number(r'loss ([\d.]+)') == 2
    assert 'loss 1.5\n' in capfd.readouterr().out
    with pytest.raises(ValueError, match="printed no 'knn"):
        done.number('knn ([0-9]+)')
    with pytest.raises(tool_runs.subprocess.CalledProcessError, match='status 3'):
        tool_runs.run('-c', 'raise SystemExit(3)')
    wrapped = tool_runs._wrapped(['python', *['a b'] * 30])
    words = tool_runs.shlex.split(wrapped.replace('\\\n', ''))
    assert words == ['python', *['a b'] * 30]
    assert max(map(len, wrapped.splitlines())) <= 88


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(MISC))
    import tool_runs

    Image.fromarray(load_photo('coffee')).save(tmp_path / 'photo.png')
    tool_runs.save_small(tmp_path / 'photo.png', tmp_path / 'small.png')
    size = (tmp_path / 'small.png').stat().st_size
    assert size < (tmp_path / 'photo.png').stat().st_size
    monkeypatch.setattr(tool_runs, 'MAX_PICTURE', size - 1)
    with pytest.raises(ValueError, match=f'{size} bytes, more than {size - 1}'):
        tool_runs.save_small(tmp_path / 'photo.png', tmp_path / 'small.png')


@pytest.mark.parametrize(
    ('name', 'sizes'), [('photos', (16, 16, 32)), ('digits', (1080, 120, 597))]
)
def test_transfer_configs_read_their_sets(tools, name, sizes):
    cfg = load_config(str(ROOT / 'configs' / 'demo' / f'transfer_{name}.py'))
    parts = [DATASETS.build(cfg[split]) for split in ('train', 'val', 'test')]
    assert tuple(map(len, parts)) == sizes
    for part in parts:
        assert part[0]['inputs'].shape == (3, 64, 64)
        assert set(part.get_gt_labels()) == set(range(cfg.num_classes))
