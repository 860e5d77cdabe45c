"""Folders of configs: metafiles, READMEs, and messages about files that moved."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from esvit_plugin.apis import list_models
from esvit_plugin.engine.configs import config_path, load_config, read_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FOLDERS = sorted(
    {
        path.parent
        for path in CONFIGS.rglob('*.py')
        if '_base_' not in path.relative_to(CONFIGS).parts
    }
)
METHODS = ('mae', 'mae_lite', 'mocov3', 'simmim')


@pytest.fixture(scope='module')
def metafiles():
    """All that model-index.yml names, by path."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    return {path: yaml.safe_load((ROOT / path).read_text()) for path in index['Import']}


def test_every_metafile_is_in_the_index(metafiles):
    paths = [str(path.relative_to(ROOT)) for path in CONFIGS.rglob('metafile.yml')]
    assert sorted(metafiles) == sorted(paths)
    names = [m['Name'] for file in metafiles.values() for m in file['Models']]
    assert len(names) == len(set(names))


def test_methods_stand_in_the_metafile_of_their_folder(metafiles):
    for path, file in metafiles.items():
        (collection,) = file['Collections']
        readme = ROOT / collection['README']
        assert readme.is_file() and readme.parent == (ROOT / path).parent
        for model in file['Models']:
            assert model['In Collection'] == collection['Name']
    for method in METHODS:
        listed = [
            m['Config'] for m in metafiles[f'configs/{method}/metafile.yml']['Models']
        ]
        found = [str(p.relative_to(ROOT)) for p in (CONFIGS / method).rglob('*.py')]
        assert sorted(listed) == sorted(found)


@pytest.mark.slow
def test_listed_configs_load(metafiles):
    for file in metafiles.values():
        for model in file['Models']:
            # Those need mmdet and mmseg; see test_downstream_configs.py.
            if not re.match('configs/(detection|segmentation)/', model['Config']):
                read_config(str(ROOT / model['Config']))


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda path: path.name)
def test_folders_say_what_they_have(folder):
    text = (folder / 'README.md').read_text()
    named = re.findall(r'(?:configs|tools)/[\w./]+\.(?:py|sh)', text)
    assert named
    for path in named:
        assert (ROOT / path).is_file(), path
    for link in re.findall(r'\]\(([^):]+)\)', text):
        assert (folder / link).exists(), link
    if folder.name in METHODS:
        configs = {path.name for path in folder.glob('*.py')}
        assert configs == set(re.findall(r'\]\((\w+\.py)\)', text))


def test_the_table_of_published_numbers_is_that_of_the_metafile(metafiles):
    def number(result, kind):
        metric = f'{kind} Top 1 Accuracy'
        if metric not in result['Metrics']:
            return ''
        return f'{result["Metrics"][metric]} ({result["Epochs"][metric]})'

    expected = []
    for model in metafiles['configs/metafile.yml']['Models']:
        for result in model.get('Results', []):
            if 'Epochs' in result:
                about = model['Metadata']
                name, file = model['Name'], Path(model['Config']).name
                recipe = [about[k] for k in ('Training Data', 'Batch Size', 'Epochs')]
                numbers = [number(result, kind) for kind in ('Linear', 'k-NN')]
                cells = [f'[{name}]({file})', *recipe, *numbers, result['Source']]
                expected.append(f'| {" | ".join(map(str, cells))} |')
    rows = re.findall(r'^\| \[.*$', (CONFIGS / 'README.md').read_text(), re.M)
    assert [row for row in rows if row.count('|') == 8] == expected
    assert len(expected) > 20


def test_tables_of_methods_have_the_metafiles_numbers(metafiles):
    for file in metafiles.values():
        for model in file['Models']:
            folder = (ROOT / model['Config']).parent
            if folder.name not in (*METHODS, 'supervised'):
                continue
            text = (folder / 'README.md').read_text()
            for result in model.get('Results', []):
                (row,) = re.findall(rf'^\| \[{model["Name"]}\].*$', text, re.M)
                for value in result['Metrics'].values():
                    assert f'| {value} |' in row, model['Name']


@pytest.mark.parametrize('name', ['mocov3_swin_t', 'mae_vit_b', 'simmim_swin_t'])
def test_moved_configs_keep_their_names(name, monkeypatch, tmp_path):
    assert name in list_models()
    method, _, _ = name.partition('_')
    now = CONFIGS / method / f'{name}.py'
    assert Path(config_path(name)) == now
    # Their old paths, in a checkout and from elsewhere
    monkeypatch.chdir(ROOT)
    message = f'no config file configs/{name}.py. This package has configs/{method}/'
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        load_config(f'configs/{name}.py')
    run = subprocess.run(
        ['bash', 'tools/dist_train.sh', f'configs/{name}.py', '2'],
        capture_output=True,
        text=True,
    )
    assert f'this package has configs/{method}/{name}.py\n' in run.stderr
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=rf'package has {re.escape(str(now))}\.'
    ):
        load_config(f'{name}.py')
    Path('own.py').write_text(f"_base_ = '{CONFIGS}/{name}.py'\n")
    with pytest.raises(FileNotFoundError, match=rf'line 1: .*{re.escape(str(now))}\.'):
        load_config('own.py')


def test_missing_configs_of_unknown_names_get_no_hint(tmp_path):
    # Parts that configs inherit are none to run.
    for name in ('nothing.py', 'default_runtime.py', '*.py'):
        with pytest.raises(FileNotFoundError) as error:
            load_config(str(tmp_path / name))
        assert str(error.value) == f'There is no config file {tmp_path / name}.'
