"""The command esvit."""

import argparse
import re
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.tools import run

import esvit_cli

# Tools that make this repository's pages; they have no command.
MISC = {
    'compare_methods',
    'make_docs',
    'regions_experiment',
    'regions_measures',
    'regions_settings',
    'tool_runs',
}


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, 'argv', ['esvit', *map(str, words)])
    esvit_cli.main()


def test_help_needs_no_torch():
    code = (
        'import sys, esvit_cli\n'
        "sys.argv = ['esvit', '--help']\n"
        'esvit_cli.main()\n'
        "assert not {'torch', 'mmengine', 'esvit_plugin'} & set(sys.modules)\n"
    )
    output = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    assert not output.returncode, output.stderr
    listed = re.findall(r'^  ([\w-]+)  +\w', output.stdout, re.M)
    assert listed == list(esvit_cli.COMMANDS)
    assert max(map(len, output.stdout.splitlines())) <= 80


def test_without_a_command_or_with_a_wrong_one(monkeypatch, capsys):
    with pytest.raises(SystemExit, match='usage: esvit COMMAND'):
        command(monkeypatch)
    with pytest.raises(SystemExit):
        command(monkeypatch, 'feature')
    text = "error: esvit has no command 'feature'; did you mean features?\n"
    assert capsys.readouterr().err == text
    with pytest.raises(SystemExit):
        command(monkeypatch, 'xyz')
    assert "'xyz'; esvit --help lists all." in capsys.readouterr().err


def test_every_tool_is_a_front_end_of_a_command():
    modules = {module for module, _ in esvit_cli.COMMANDS.values()}
    named = set()
    for path in ROOT.glob('tools/**/*.py'):
        if path.stem not in MISC:
            (name,) = re.findall(
                r'from esvit_plugin\.commands\.(\w+)', path.read_text()
            )
            named.add(name)
            assert len(path.read_text().splitlines()) < 15, path
    assert named == modules


@pytest.mark.parametrize('name', esvit_cli.COMMANDS)
def test_commands_have_help(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, name, '--help')
    assert not end.value.code
    assert capsys.readouterr().out.startswith(f'usage: esvit {name} ')


def test_mistakes_are_errors_of_the_tools(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, 'train', 'esvit_swin_q')
    assert end.value.code == 1
    text = 'error: There is no config file esvit_swin_q.'
    assert capsys.readouterr().err.startswith(text)
    # A name is found, whatever the folder one is in.
    with pytest.raises(SystemExit):
        command(monkeypatch, 'test', 'esvit_swin_photos', 'nowhere.pth')
    text = 'error: esvit_swin_photos has no test_dataloader.'
    assert capsys.readouterr().err.startswith(text)


def test_a_tool_and_its_command_are_one_program(monkeypatch, tmp_path):
    for start in (
        lambda *args: run('knn.py', *args),
        lambda *args: command(monkeypatch, 'knn', *args),
    ):
        with pytest.raises((FileNotFoundError, SystemExit)) as error:
            start('esvit_swin_photos', tmp_path / 'nowhere.pth')
        cause = error.value.__cause__ or error.value
        assert isinstance(cause, FileNotFoundError)


def test_launchers_and_loaders_have_mmpretrains_options():
    from mmengine.config import Config

    from esvit_plugin.engine.options import add_launch_options, set_loader_options

    parser = argparse.ArgumentParser()
    add_launch_options(parser)
    words = ['--local-rank=1', '--no-pin-memory', '--no-persistent-workers']
    args = parser.parse_args(words)
    loader = dict(batch_size=2, pin_memory=True, persistent_workers=True)
    hook = dict(type='KNNMonitorHook', val_dataloader=dict(loader))
    cfg = Config(dict(train_dataloader=dict(loader), custom_hooks=[hook]))
    set_loader_options(cfg, args)
    for changed in (cfg.train_dataloader, cfg.custom_hooks[0].val_dataloader):
        assert changed == dict(batch_size=2, pin_memory=False, persistent_workers=False)
    assert parser.parse_args(['--local_rank', '0']).local_rank == 0
    untouched = Config(dict(train_dataloader=dict(loader)))
    set_loader_options(untouched, parser.parse_args([]))
    assert untouched.train_dataloader == loader
