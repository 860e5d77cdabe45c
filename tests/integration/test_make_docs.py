"""The programs that write docs/, with a few crops and tools run in this process."""

import contextlib
import io
import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
QUICK = """
_base_ = {base!r}
train_cfg = dict(max_epochs=1)
"""
QUICK_LOADER = """
train_dataloader = dict(batch_size=16, num_workers=0, persistent_workers=False)
default_hooks = dict(logger=dict(interval=1))
"""
QUICK_OPTIONS = [
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=16',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
]


@pytest.fixture
def tools(monkeypatch, tmp_path, photos_once):
    """The modules, whose commands run here on two crops of each photograph."""
    monkeypatch.syspath_prepend(str(MISC))
    monkeypatch.chdir(ROOT)
    # split, crop_size, short_side, num_train, num_test, seed
    defaults = ('train', 64, 320, 2, 2, 0)
    monkeypatch.setattr(BundledPhotos.__init__, '__defaults__', defaults)
    import compare_methods
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
        return tool_runs.Done(tool_runs.wrapped(['python', *words]), output)

    config = tmp_path / 'esvit_swin_photos.py'
    config.write_text(QUICK.format(base=str(ROOT / tool_runs.CONFIG)) + QUICK_LOADER)
    probe = tmp_path / 'probe.py'
    probe.write_text(QUICK.format(base=str(ROOT / make_docs.PROBE)))
    for module in (compare_methods, make_docs, regions_experiment, tool_runs):
        monkeypatch.setattr(module, 'run', run)
    for module in (make_docs, tool_runs):
        monkeypatch.setattr(module, 'CONFIG', str(config))
    monkeypatch.setattr(compare_methods, 'OPTIONS', QUICK_OPTIONS)
    monkeypatch.setattr(compare_methods, 'WORK_DIR', str(tmp_path / 'methods'))
    monkeypatch.setattr(compare_methods, 'OUT', tmp_path / 'compare.md')
    monkeypatch.setattr(make_docs, 'PROBE', str(probe))
    monkeypatch.setattr(make_docs, 'SETS', make_docs.SETS[:1])
    monkeypatch.setattr(make_docs, 'WORK_DIR', str(tmp_path / 'run'))
    monkeypatch.setattr(make_docs, 'OUT', tmp_path / 'docs')
    monkeypatch.setattr(regions_experiment, 'WORK_DIR', str(tmp_path / 'runs'))
    monkeypatch.setattr(regions_experiment, 'OUT', tmp_path / 'regions.md')
    monkeypatch.setattr(regions_experiment, 'ROWS', tmp_path / 'regions.json')
    monkeypatch.setattr(regions_experiment, 'SEEDS', (1,))
    # Signals are for the main thread.
    one_by_one = mock.MagicMock()
    jobs = one_by_one.return_value.__enter__.return_value
    jobs.map, jobs.submit = map, lambda function: mock.Mock(result=function)
    monkeypatch.setattr(regions_experiment, 'ThreadPoolExecutor', one_by_one)
    monkeypatch.setattr(tool_runs, 'PHOTO_NAMES', PHOTOS)
    return tool_runs


def call(module, *options):
    with mock.patch.object(sys, 'argv', [f'{module}.py', *options]):
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


def test_a_failing_tool_leaves_the_page_as_it_was(tools, tmp_path, monkeypatch):
    monkeypatch.setattr('make_docs.train', lambda _: (None, 'a.pth'))
    monkeypatch.setattr('make_docs.save_untrained', lambda *_: None)
    monkeypatch.setattr('make_docs.run', mock.Mock(side_effect=ValueError))
    with pytest.raises(ValueError):
        call('make_docs')
    assert not (tmp_path / 'docs').exists()


def test_the_page_of_the_demo(tools, tmp_path):
    call('make_docs')
    work_dir, out = tmp_path / 'run', tmp_path / 'docs'
    checkpoint = work_dir / 'epoch_1.pth'

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
        assert (out / name).stat().st_size < 1_000_000
    assert len(list(out.glob('*.png'))) == 4


def test_the_page_of_the_region_task(tools, tmp_path, monkeypatch):
    import regions_experiment as experiment
    import regions_measures

    quick = [o for o in QUICK_OPTIONS if 'max_epochs' not in o]
    quick += ['train_dataloader.dataset.indices=16', 'train_dataloader.batch_size=8']
    settings = {
        name: (*quick, f'train_cfg.max_epochs={epochs}', *options)
        for name, epochs, options in (
            ('plain', 2, ()),
            ('K = 8', 1, ('model.neck.out_channels=8',)),
        )
    }
    monkeypatch.setattr(experiment, 'SETTINGS', settings)
    monkeypatch.setattr(experiment, 'lead', lambda setting: setting == 'plain')
    monkeypatch.setattr(regions_measures, 'NUM_COPIES', 1)
    monkeypatch.setattr(sys, 'argv', ['regions_experiment.py', '--search', 'K = 8'])
    experiment.main()
    assert (tmp_path / 'regions.md').read_text().count('not measured yet') == 2
    call('regions_experiment')
    text = (tmp_path / 'regions.md').read_text()
    assert text.count('plain: V+R') == text.count('K = 8: V |') == 1
    # Its backbone is that of the first setting.
    assert 'K = 8: random weights' not in text
    assert '| V, then V+R minus V, in equal time |' in text
    assert 'not measured' not in text
    commands = text.replace(' \\\n   ', '')
    assert 'both_0 --resume --cfg-options randomness.seed=0' in commands
    # A better one whose other seeds are not measured leaves these on the page.
    with monkeypatch.context() as patch:
        patch.setattr(experiment, 'lead', lambda setting: setting == 'K = 8')
        assert experiment.write_page() == 'K = 8'
    assert 'not measured' not in (tmp_path / 'regions.md').read_text()
    records = json.loads((tmp_path / 'regions.json').read_text())
    for name in experiment.NETWORKS:
        record = records[f'plain/{name}_1']
        (*_, values) = record['measures']
        assert set(values) >= set(experiment.MEASURES)
        assert 0 <= values['knn'] <= 100 and 0 < values['likeness'] <= 100
        assert len(record['epochs']) == len(record['measures'])
        if name != 'random':
            weights = tmp_path / 'runs' / 'plain' / f'{name}_1' / 'epoch_2.pth'
            state = torch.load(weights)['state_dict']
            assert any('region' in key for key in state) == (name != 'view')
    # The second phase begins with what the first has learnt in half of the time.
    logs = (tmp_path / 'runs' / 'plain' / 'two_phase_1').glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for path in logs for line in path.open()]
    assert {one['epoch'] for one in steps if 'loss_region' in one} == {2}
    # What is there is not done again.
    monkeypatch.setattr(experiment, 'run', mock.Mock(side_effect=AssertionError))
    call('regions_experiment')
    assert (tmp_path / 'regions.md').read_text() == text
    # Another setting than the best one with all seeds: both are on the page then.
    compared = []
    monkeypatch.setattr(experiment, 'compare', lambda name, jobs: compared.append(name))
    call('regions_experiment', '--compare', 'K = 8')
    assert compared == ['K = 8']
    done = experiment.rows()
    for name in experiment.NETWORKS:
        done[f'k___8/{name}_1'] = done[f'plain/{name}_1']
    monkeypatch.setattr(experiment, 'rows', lambda: done)
    experiment.write_page()
    text = (tmp_path / 'regions.md').read_text()
    heads = re.findall(r'^\| ?(.*?) \| mirrored, 10', text, re.M)
    assert heads == ['', *['plain', 'K = 8'] * 2]


def test_the_measures_of_regions(tools, photos_once):
    """Regions that know their place match it, those all alike never do surely."""
    import regions_measures as measures

    train, test = measures.crops_of('train'), measures.crops_of('test')
    assert test.images[0].shape == (112, 112, 3) and len(set(test.names)) == 16

    class Placed(torch.nn.Module):
        """Features that say the distance from the left and right edge, and the row."""

        data_preprocessor = staticmethod(lambda data, training=False: data)

        def encode(self, images):
            row, col = torch.meshgrid(
                torch.arange(4.0), torch.arange(4.0), indexing='ij'
            )
            colour = images.float().mean((2, 3))
            regions = torch.stack([row, 4 * (col - 1.5).abs(), row * 0 + 1], -1)
            return colour, regions.flatten(0, 1).expand(len(images), -1, -1)

    copies = {'mirrored': [test.images]}
    found = measures.measure(Placed(), train, test, copies)
    # Each region and the one mirrored are the same, and the first found is on the left.
    assert found['mirrored_all'] == pytest.approx(50.0)
    assert 0 < found['likeness'] < 100


def test_the_table_of_methods(tools, tmp_path, monkeypatch):
    import compare_methods

    some = ('EsViT, L_V', 'MAE-lite', 'D-MAE')
    methods = {name: compare_methods.METHODS[name] for name in some}
    monkeypatch.setattr(compare_methods, 'METHODS', methods)
    # The page has the commands of all methods.
    text, block = compare_methods.PAGE.read_text(), r'(?s)```bash.*?```'
    surplus = len(re.findall(block, text)) - len(methods)
    assert surplus == 3
    page = tmp_path / 'words.md'
    page.write_text(re.sub(block, '', text, count=surplus))
    monkeypatch.setattr(compare_methods, 'PAGE', page)
    call('compare_methods')
    text = (tmp_path / 'compare.md').read_text()
    found = rows(text)
    assert list(found) == ['', '---', *compare_methods.METHODS]
    for name in compare_methods.METHODS:
        epochs, random, knn, linear, seconds, _ = found[name]
        assert 0 <= float(random) <= 100 and random != 'nan'
        folder = ROOT / compare_methods.folder_of(name)
        logged = [
            json.loads(line)
            for path in folder.glob('*/vis_data/scalars.json')
            for line in path.read_text().splitlines()
        ]
        monitored = [one['knn/top1_k20'] for one in logged if 'knn/top1_k20' in one]
        assert epochs == '1' and float(knn) == pytest.approx(monitored[-1], abs=0.06)
        transfer = json.loads((folder / 'transfer.json').read_text())['results']
        assert linear == f'{next(iter(transfer.values()))["value"]:.1f}'
        # Two iterations of 16 crops.
        times = [one['time'] for one in logged if 'time' in one]
        assert float(seconds) == pytest.approx(2 * np.median(times), abs=1)
    commands = text.replace(' \\\n   ', '')
    teacher = tmp_path / 'methods' / 'mae_lite' / 'epoch_1.pth'
    assert (
        f'model.target_generator.checkpoint={os.path.relpath(teacher, ROOT)}'
        in commands
    )
    assert commands.count('\npython tools/train.py') == len(compare_methods.METHODS)


def test_the_experiment_pairs_its_seeds(tools, monkeypatch):
    import regions_experiment as experiment

    monkeypatch.setattr(experiment, 'SEEDS', (1, 2))
    found = dict(random=[1, 2], view=[2, 4], both=[5, 6], two_phase=[2, 4])

    def values_of(one, at_end=True):
        value = found[one.network][one.seed - 1] - (not at_end)
        return dict.fromkeys(experiment.MEASURES, value)

    monkeypatch.setattr(experiment, 'values_of', values_of)
    names = [f'as_in_the_config/{n}_{s}' for n in found for s in (1, 2)]
    monkeypatch.setattr(experiment, 'rows', lambda: dict.fromkeys(names))
    networks, changes = map(rows, experiment.final_tables('as in the config'))
    assert networks['V'] == ['3.0 ± 1.0'] * len(experiment.MEASURES)
    # Differences of 3 and 2; a point less in equal time.
    assert changes['V+R minus V'][0] == '2.5 ± 0.5'
    assert changes['V+R minus V, in equal time'][0] == '1.5 ± 0.5'
    monkeypatch.setattr(experiment, 'SEARCH_SEED', 2)
    assert experiment.lead('as in the config') == 2  # 6 - 4
    with monkeypatch.context() as patch:
        patch.setattr(experiment, 'rows', dict)
        twelve = {'12 epochs': ('train_cfg.max_epochs=12',)}
        patch.setattr(experiment, 'SETTINGS', twelve)
        patch.setattr(experiment, 'seconds', lambda folder: 3 + 3 * ('both' in folder))
        ends = {
            name: experiment.equal_time(experiment.Run(name, 1, '12 epochs'))
            for name in ('view', 'both', 'two_phase')
        }
    assert ends == dict(view=12, both=6, two_phase=9)


def test_equal_networks_are_trained_once(tools):
    import regions_experiment as experiment

    weight, windows = '3 epochs, weight of the region task 0.9', 'windows of 2 x 2'
    views = f'3 epochs, {windows}, all views nearly whole'
    for network, setting, expected in (
        ('view', weight, '3 epochs'),
        ('both', weight, weight),
        ('two_phase', weight, weight),
        ('view', views, views),
        ('random', weight, 'as in the config'),
        ('random', views, f'3 epochs, {windows}'),
    ):
        one = experiment.Run(network, 0, setting)
        assert experiment.stand_in(one) == one._replace(setting=expected)


def test_a_failure_begins_no_further_training(tools, monkeypatch):
    import regions_experiment as experiment

    begun = []

    def train(one):
        begun.append(one)
        time.sleep(0.5)  # until all are handed out
        raise RuntimeError('training failed')

    monkeypatch.setattr(experiment, 'ThreadPoolExecutor', ThreadPoolExecutor)
    monkeypatch.setattr(experiment, 'train', train)
    with pytest.raises(RuntimeError, match='training failed'):
        call('regions_experiment')
    # One may have begun before the others were called off.
    assert 1 <= len(begun) <= 3


@pytest.mark.parametrize('text', ['{"a": 1', '[]'])
def test_damaged_rows_are_refused_before_anything_is_trained(tools, text):
    import regions_experiment as experiment

    experiment.ROWS.write_text(text)
    with pytest.raises(ValueError, match=f'^{re.escape(str(experiment.ROWS))} .*mend'):
        call('regions_experiment')


def test_targets_that_are_all_alike_tell_nothing(tools, tmp_path):
    import regions_experiment as experiment

    (tmp_path / 'vis_data').mkdir()
    lines = [
        dict(step=1, iter=1, prototypes_used=1.0, teacher_entropy=9.0),
        # e^3 in use, each target spread over e^2; all regions have one target.
        dict(step=2, iter=2, prototypes_used=np.exp(3), teacher_entropy=2.0)
        | dict(region_prototypes_used=np.exp(1.5), region_entropy=1.5),
    ]
    log = tmp_path / 'vis_data' / 'scalars.json'
    log.write_text('\n'.join(map(json.dumps, lines)))
    told = experiment.information(str(tmp_path))
    assert told == dict(views=pytest.approx(1), regions=pytest.approx(0))


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
    wrapped = tool_runs.wrapped(['python', *['a b'] * 30])
    words = tool_runs.shlex.split(wrapped.replace('\\\n', ''))
    assert words == ['python', *['a b'] * 30]
    assert max(map(len, wrapped.splitlines())) <= 88


def test_a_picture_keeps_its_colours_and_may_not_be_too_large(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(MISC))
    import tool_runs

    photo = load_photo('coffee')
    Image.fromarray(photo).save(tmp_path / 'photo.png', compress_level=0)
    tool_runs.save_small(tmp_path / 'photo.png', tmp_path / 'small.png')
    with Image.open(tmp_path / 'small.png') as file:
        assert np.array_equal(np.asarray(file), photo)
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
