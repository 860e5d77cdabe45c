"""What only a Python of its own shows: its imports and its end."""

import os
import subprocess
import sys

import pytest
from support.paths import ROOT

from esvit_plugin.engine import cli

WITHOUT = """
import sys
class Block:
    def find_spec(self, name, *_):
        if name == {!r}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Block())
import esvit_plugin
"""
RUN = """
def f():
    {}
from esvit_plugin.engine.cli import run_tool
run_tool(lambda: f())
"""
MISSING = ['mmcv', 'mmpretrain']
ENDS = {
    '1 / 0': (1, f'error: ZeroDivisionError: division by zero\n{cli.HINT}\n'),
    'input()': (1, f'error: EOFError: EOF when reading a line\n{cli.HINT}\n'),
    'raise KeyboardInterrupt': (130, ''),
}


@pytest.fixture(scope='module')
def results():
    """Exit code and standard error of each program; they run side by side."""
    codes = {name: WITHOUT.format(name) for name in MISSING}
    codes |= {body: RUN.format(body) for body in ENDS}
    programs = {
        name: subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
        )
        for name, code in codes.items()
    }
    errors = {name: program.communicate()[1] for name, program in programs.items()}
    return {name: (programs[name].returncode, error) for name, error in errors.items()}


@pytest.mark.parametrize('missing', MISSING)
def test_a_missing_package_is_named_with_its_remedy(results, missing):
    code, error = results[missing]
    assert code != 0
    message = error.splitlines()[-1]
    assert message.startswith(f'ImportError: esvit_plugin needs {missing}')
    assert f"pip install '{missing}" in message


@pytest.mark.parametrize('code', ENDS)
def test_a_program_of_its_own(results, code):
    assert results[code] == ENDS[code]
