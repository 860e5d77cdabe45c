"""What README and pages name exists, and what they print can be typed."""

import argparse
import ast
import importlib.util
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from mmengine.config import DictAction
from PIL import Image

from esvit_plugin.engine.configs import load_config

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
SITE = [path for path in sorted(DOCS.rglob('*.md')) if '_build' not in path.parts]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *SITE]
PAGES += sorted(ROOT.glob('configs/**/README.md'))
PAGES += sorted(ROOT.glob('tests/*/README.md'))
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')
FENCE = re.compile(r'^```(\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
CODE = re.compile(r'(?<!`)`([^`\n]+)`(?!`)')
PATH = re.compile(r'\b(?:configs|tools|benchmarks|docs)/[\w./-]+\.(?:py|sh|md|png)\b')
# Python programs behind the shell's, and what those put between their arguments.
LAUNCHERS = {
    'tools/dist_train.sh': ('tools/train.py', lambda a: [a[0], *a[2:]], 'pytorch'),
    'tools/dist_test.sh': ('tools/test.py', lambda a: [*a[:2], *a[3:]], 'pytorch'),
    'tools/slurm_train.sh': (
        'tools/train.py',
        lambda a: [a[2], '--work-dir', a[3], *a[4:]],
        'slurm',
    ),
}


def expanded(text):
    """A page with the shell variables that its commands set."""
    for name, value in re.findall(r'^([A-Z]+)=(\S+)$', text, re.M):
        text = text.replace(f'${name}/', f'{value}/')
    return text


def blocks(page, language):
    return [text for kind, text in FENCE.findall(page.read_text()) if kind == language]


def commands(page):
    """Words of each command that runs a program of the repository."""
    lines = []
    for text in blocks(page, 'bash'):
        lines += text.replace('\\\n', ' ').splitlines()
    lines += CODE.findall(page.read_text())
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # prose with an apostrophe
        while words and re.fullmatch(r'[A-Z_]+=.*', words[0], re.DOTALL):
            words = words[1:]
        if words[:1] in (['python'], ['bash']):
            words = words[1:]
        if words[:2] == ['torchrun', '--nproc-per-node']:
            words = words[3:]
        if len(words) > 1 and re.match(
            r'(tools|benchmarks)/[\w/]+\.(py|sh)$', words[0]
        ):
            yield words


COMMANDS = sorted({tuple(words) for page in PAGES for words in commands(page)})


class Parsed(BaseException):
    """The command line is right."""


@pytest.mark.parametrize('name', NAMES)
def test_relative_links_lead_somewhere(name):
    page = ROOT / name
    for target in LINK.findall(page.read_text()):
        if '://' in target:
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r'^#+ (.*)$', file.read_text(), re.MULTILINE)
            slugs = [
                re.sub(r'[^\w -]', '', t).lower().replace(' ', '-') for t in titles
            ]
            assert anchor in slugs, target


@pytest.mark.parametrize('name', NAMES)
def test_files_that_a_page_names_exist(name):
    for path in PATH.findall(expanded((ROOT / name).read_text())):
        # What the demo writes, and patterns such as esvit_<backbone>.py
        if not re.search(rf'work_dirs/\S*{re.escape(path)}', (ROOT / name).read_text()):
            assert (ROOT / path).is_file(), path


@pytest.mark.slow
def test_configs_that_pages_name_load():
    named = {
        path
        for page in PAGES
        for path in PATH.findall(page.read_text())
        if path.startswith('configs/') and path.endswith('.py')
    }
    # mmdet's and mmseg's need those packages.
    others = ('configs/detection/', 'configs/segmentation/')
    named = [path for path in sorted(named) if not path.startswith(others)]
    assert len(named) > 20
    for path in named:
        load_config(str(ROOT / path))


@pytest.mark.parametrize('words', COMMANDS, ids=' '.join)
def test_command_lines_parse(words, monkeypatch):
    program, *args = words
    if program in LAUNCHERS:
        program, order, launcher = LAUNCHERS[program]
        args = [*order(args), '--launcher', launcher]
    elif program.endswith('.sh'):
        program = str(Path(program).with_suffix('.py'))
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, *given):
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_only)
    monkeypatch.setattr(sys, 'argv', [program, *args])
    monkeypatch.syspath_prepend(str((ROOT / program).parent))
    with pytest.raises(Parsed):
        runpy.run_path(str(ROOT / program))['main']()


@pytest.mark.slow
def test_settings_of_commands_fit_their_configs():
    for words in COMMANDS:
        if '--cfg-options' not in words:
            continue
        config = next((w for w in words if w.startswith('configs/')), None)
        if config is None or not config.endswith('.py'):
            continue
        options = {}
        for word in words[words.index('--cfg-options') + 1 :]:
            if word.startswith('-') or '=' not in word:
                break
            key, _, value = word.partition('=')
            options[key] = DictAction._parse_iterable(value)
        # It refuses what nothing would read.
        load_config(str(ROOT / config), options)


@pytest.mark.parametrize('name', NAMES)
def test_python_of_pages_parses(name):
    for text in blocks(ROOT / name, 'python'):
        ast.parse(text)


def test_every_page_is_in_a_table_of_contents():
    index = (DOCS / 'index.md').read_text()
    listed = [
        line
        for block in re.findall(r'^```{toctree}\n(.*?)^```$', index, re.M | re.S)
        for line in block.split()
        if (DOCS / f'{line}.md').is_file()
    ]
    pages = [str(path.relative_to(DOCS).with_suffix('')) for path in SITE]
    assert sorted([*listed, 'index']) == sorted(pages)


@pytest.mark.slow
def test_the_zoo_lists_every_config_once():
    spec = importlib.util.spec_from_file_location('zoo', DOCS / 'zoo_tables.py')
    zoo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(zoo)
    page = DOCS / 'zoo.md'
    text = zoo.fill(page.read_text(), page)
    assert '<!--' not in text
    for model in zoo.read_models():
        link = os.path.relpath(ROOT / model['Config'], DOCS)
        assert text.count(f'[{model["Name"]}]({link})') == 1
        assert (DOCS / link).is_file()
    row = (
        '| 512 | 300 | Linear 78.0 (300), k-NN 75.7 (280) | arXiv 2106.09785, Table 1 |'
    )
    assert f'| [esvit_swin_t](../configs/esvit_swin_t.py) | ImageNet-1k {row}' in text
    with pytest.raises(ValueError, match='zoo.md: no metafile lists a config of conf'):
        zoo.fill('<!-- zoo: none -->', page)


@pytest.fixture
def plain_pytorch(tmp_path, monkeypatch):
    """Runs the programs of that page that have a word, in a folder with images."""
    (tmp_path / 'images').mkdir()
    for number, name in enumerate(('a.jpg', 'b.png')):
        image = Image.effect_noise((128, 128), 20 + number).convert('RGB')
        image.save(tmp_path / name)
        image.save(tmp_path / 'images' / name)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        names = {}
        for word in words:
            (text,) = [
                text
                for text in blocks(DOCS / 'plain_pytorch.md', 'python')
                if word in text
            ]
            exec(compile(text, 'plain_pytorch.md', 'exec'), names)
        return names

    return run


@pytest.mark.slow
def test_the_loop_of_plain_pytorch_trains(plain_pytorch):
    plain_pytorch('optimizer.step()', 'torch.save')
    assert Path('esvit.pth').is_file()
    (loop,) = [
        text
        for text in blocks(DOCS / 'plain_pytorch.md', 'python')
        if 'optimizer.step()' in text
    ]
    assert len([line for line in loop.splitlines() if line]) <= 25


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_the_other_programs_of_plain_pytorch_run(plain_pytorch, capsys):
    names = plain_pytorch('model.encode(images)', 'torch.jit.trace')
    assert capsys.readouterr().out.splitlines()[-2:] == [
        'torch.Size([2, 768]) torch.Size([2, 49, 768])',
        'torch.Size([2, 768, 7, 7])',
    ]
    assert Path('backbone.pt').is_file()
    model = plain_pytorch('vit_tiny_patch16_224')['model']
    assert model.encode(names['images'])[1].shape == (2, 196, 192)
