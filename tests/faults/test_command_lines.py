"""Mistakes on the command line: few lines, with the value and the remedy."""

import re
import shlex
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import torch
from support.faults.command_lines import COMMANDS, SHELL
from support.faults.entries import transfer_set
from support.faults.forks import ROOT, TINY, start_tool
from support.faults.runs import CLASSIFIER, knn, load, run_cases, write_config

CONFIGS = dict(
    syntax="_base_ = []\n\nmodel = dict(type='EsViT'\n",
    base="_base_ = ['no_base.py']\n",
    raises='width = 0\nheight = 1 / width\n',
    imports="custom_imports = dict(imports=['no_such_module'])\n",
    empty='seed = 1\n',
)


@pytest.fixture(scope='module')
def files(tmp_path_factory, trained):
    """The files that the commands name."""
    folder = tmp_path_factory.mktemp('files')
    found = dict(tiny=TINY, classifier=CLASSIFIER)
    found.update(checkpoint=trained['esvit'], classified=folder / 'classified.pth')
    shutil.copy(trained['classifier'], found['classified'])
    for name, text in CONFIGS.items():
        found[name] = folder / f'{name}.py'
        found[name].write_text(text)
    found['text'] = folder / 'text.txt'
    found['text'].write_text('no config, no checkpoint\n')
    for name in ('folder', 'images'):
        found[name] = folder / name
        found[name].mkdir()
    for number in range(2):
        image = np.full((40, 40, 3), 100 * number, np.uint8)
        cv2.imwrite(str(folder / 'images' / f'{number}.png'), image)
    found['list'] = folder / 'list.pth'
    torch.save([1, 2], found['list'])
    found['weights'] = folder / 'weights.pth'
    torch.save(dict(state_dict=load(trained['esvit'])['state_dict']), found['weights'])
    found['features'] = folder / 'features.npz'
    paths = np.array([f'{n}.png' for n in range(8)])
    np.savez(found['features'], paths=paths, pooled=np.eye(8))
    found['knn'] = write_config(folder / 'knn.py', custom_hooks=[knn()])
    found['no_scale'] = write_config(
        folder / 'no_scale.py', auto_scale_lr=dict(_delete_=True)
    )
    found['scalars'] = folder / 'scalars.json'
    found['scalars'].write_text('{"loss": 1.5, "step": 1}\n')
    found['set'] = transfer_set(folder)
    return found


def complaints(code, err, message, value, remedy):
    """What is wrong with the end of a program that was called wrongly."""
    # argparse's usage ends with the line of its error.
    own = re.sub(r'usage: .*?(?=^\S+: error: |\Z)', '', message, flags=re.S | re.M)
    found = [] if code else ['exit code 0']
    if 'Traceback' in err:
        found.append('a traceback')
    if len(own.splitlines()) > 3:
        found.append(f'{len(own.splitlines())} lines')
    if not re.search(value, own or message, re.I | re.S):
        found.append(f'not named: {value}')
    if not re.search(remedy, message, re.I | re.S):
        found.append(f'no remedy: {remedy}')
    return found


def test_there_are_a_hundred():
    assert len(COMMANDS) + len(SHELL) >= 100


def test_programs(files, tmp_path):
    def case(number, command, value, remedy):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = command.format(**files, out=folder / 'out')
        tool, *args = shlex.split(text)
        run = start_tool(tool, *args, folder=folder, cwd=folder)
        yield run
        found = complaints(run.code, run.text, run.message, value, remedy)
        shown = '\n    '.join(run.message.splitlines()[-4:])
        assert not found, f'{", ".join(found)}\n    {shown}'
        left = [path.name for path in folder.glob('out*') if path.is_file()]
        assert not left, left

    run_cases(
        {row[0]: case(number, *row) for number, row in enumerate(COMMANDS)}, timeout=120
    )


@pytest.mark.parametrize(('command', 'value', 'remedy'), SHELL)
def test_shell_scripts(files, tmp_path, command, value, remedy):
    (tmp_path / 'srun').write_text('#!/bin/sh\necho srun was called\n')
    (tmp_path / 'srun').chmod(0o755)
    command = command.format(**files, out=tmp_path / 'out')
    command = command.replace('tools/', f'bash {ROOT}/tools/')
    run = subprocess.run(
        ['bash', '-c', f'PATH={tmp_path}:$PATH {command}'],
        capture_output=True,
        text=True,
        timeout=180,
    )
    text = run.stdout + run.stderr
    found = complaints(run.returncode, text, run.stderr, value, remedy)
    assert not found, f'{", ".join(found)}\n{text[-600:]}'
    assert 'srun was called' not in text
