"""What only a Python of its own shows: its imports and its end."""

import os
import subprocess
import sys

import pytest
from support.paths import ROOT

from esvit_plugin.engine import cli


@pytest.mark.parametrize('missing', ['mmcv', 'mmpretrain'])
def test_a_missing_package_is_named_with_its_remedy(missing):
    code = (
        'import sys\n'
        'class Block:\n'
        '    def find_spec(self, name, *_):\n'
        f'        if name == {missing!r}:\n'
        '            raise ModuleNotFoundError(name=name)\n'
        'sys.meta_path.insert(0, Block())\n'
        'import esvit_plugin\n'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.returncode != 0
    message = run.stderr.splitlines()[-1]
    assert message.startswith(f'ImportError: esvit_plugin needs {missing}')
    assert f"pip install '{missing}" in message


@pytest.mark.parametrize('code', ['1 / 0', 'raise KeyboardInterrupt', 'input()'])
def test_a_program_of_its_own(code):
    program = 'from esvit_plugin.engine.cli import run_tool\nrun_tool(lambda: f())\n'
    body = f'def f():\n    {code}\n'
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', body + program],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.DEVNULL,
    )
    expected = {
        '1 / 0': (1, f'error: ZeroDivisionError: division by zero\n{cli.HINT}\n'),
        'input()': (1, f'error: EOFError: EOF when reading a line\n{cli.HINT}\n'),
    }
    assert (run.returncode, run.stderr) == expected.get(code, (130, ''))
