"""Calling the command-line tools as a user does, and small models for them."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from unittest import mock

import matplotlib.image
import torch
from mmengine.config import Config

from esvit_plugin import get_model
from support.paths import ROOT
from support.training import fresh_globals, small_model, with_backbone


def call(*command, expect=0, **env):
    run = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, 'PYTHONPATH': str(ROOT), **env},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    output = run.stdout + run.stderr
    assert run.returncode == expect, output[-4000:]
    return output


def tool(name, *args, **kwargs):
    return call(sys.executable, ROOT / 'tools' / name, *args, **kwargs)


def last_line(output):
    """The message that ended a program, without a traceback."""
    assert 'Traceback' not in output
    lines = output.splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith('error: '))
    assert len(lines[start:]) <= 3, output[-4000:]
    return '\n'.join(lines[start:])


def run(name, *args):
    """Run a tool in this process, which saves seconds; its standard output."""
    fresh_globals()
    argv = [name, *(str(arg) for arg in args)]
    errors = io.StringIO()
    try:
        with (
            mock.patch.object(sys, 'argv', argv),
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(errors),
        ):
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
    except SystemExit as end:
        sys.stderr.write(errors.getvalue())
        # Tests look at the exception; what a user sees is its message, in three lines.
        if isinstance(end.__cause__, Exception):
            assert end.code == 1
            lines = errors.getvalue().split('error: ', 1)[1].splitlines()
            assert 1 <= len(lines) <= 3 and lines[0][:40] in str(end.__cause__)
            raise end.__cause__ from None
        raise
    return output.getvalue()


def saved_model(tmp_path, backbone=None, width=128):
    """A config file, a checkpoint and the model in it, its teacher not its student."""
    cfg = with_backbone(backbone, width) if backbone else small_model()
    torch.manual_seed(0)
    model = get_model(cfg)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.05 * torch.randn_like(param))
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'checkpoint.pth'
    Config(dict(model=cfg)).dump(str(config))
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return config, checkpoint, model


def is_drawn(path):
    return matplotlib.image.imread(path)[..., :3].std() > 0.05
