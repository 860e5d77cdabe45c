"""What the programs that write docs/ share: running tools, tables, small pictures."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.runner import find_latest_checkpoint
from PIL import Image

from esvit_plugin.engine.checkpoints import atomic_file

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/demo/esvit_swin_photos.py'
MAX_PICTURE = 400_000  # bytes


class Done(NamedTuple):
    """A command that ended well.

    Args:
        command: As to be typed in the root of the repository.
        output: What it printed.
    """

    command: str
    output: str

    def number(self, pattern: str) -> float:
        """The last number that the pattern's one group finds in the output.

        Raises:
            ValueError: If there is none.
        """
        found = re.findall(pattern, self.output)
        if not found:
            raise ValueError(f'{self.command}\nprinted no {pattern!r}.')
        return float(found[-1])


def run(*args: Any) -> Done:
    """Run Python with these arguments in the root of the repository, and show it.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    words = [str(arg) for arg in args]
    print(f'\n$ {shlex.join(["python", *words])}', flush=True)
    output = []
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        for line in process.stdout or ():
            print(line, end='', flush=True)
            output.append(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, ['python', *words])
    return Done(_wrapped(['python', *words]), ''.join(output))


def _wrapped(words: Sequence[str], width: int = 88) -> str:
    """A command on several lines."""
    lines = ['']
    for word in map(shlex.quote, words):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append('   ')
        lines[-1] += f' {word}' if lines[-1] else word
    return ' \\\n'.join(lines)


def own_command() -> str:
    """The command of the running program."""
    name = from_root(sys.argv[0])
    return shlex.join(['python', name, *sys.argv[1:]])


def from_root(path: str | os.PathLike) -> str:
    """A path as seen from the root of the repository."""
    return os.path.relpath(os.path.abspath(path), ROOT)


def train(work_dir: str, options: Sequence[str]) -> tuple[Done, str]:
    """Train the demo, or go on where it was stopped; a finished one is left as it is.

    Args:
        work_dir: Its work folder, seen from the root.
        options: ``--cfg-options``, each KEY=VALUE.

    Returns:
        The command, and the last checkpoint.
    """
    extra = ['--cfg-options', *options] if options else []
    done = run('tools/train.py', CONFIG, '--work-dir', work_dir, '--resume', *extra)
    return done, from_root(ROOT / find_latest_checkpoint(ROOT / work_dir))


def save_untrained(config: str, path: str, seed: int = 0) -> Done:
    """Write a checkpoint of a config's model with random weights."""
    # Double quotes, which a shell leaves alone between single ones.
    return run(
        '-c',
        f'import torch, esvit_plugin; torch.manual_seed({seed}); '
        f'model = esvit_plugin.get_model({json.dumps(config)}); '
        f'torch.save(dict(state_dict=model.state_dict()), {json.dumps(path)})',
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [header, ['---', *['--:'] * (len(header) - 1)], *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def code(*runs: Done) -> str:
    """Commands in a Markdown block."""
    return '\n'.join(['```bash', *(done.command for done in runs), '```'])


def versions() -> str:
    """What the numbers may depend on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'a CPU'
    return f'torch {torch.__version__.split("+")[0]} on {device}'


def save_small(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy a picture with at most 256 colours, as a PNG.

    Raises:
        ValueError: If the file is still larger than 400 kB.
    """
    with Image.open(source) as file:
        picture = file.convert('RGB')
    # Two steps, as Pillow dithers only with the colours of another picture.
    picture = picture.quantize(palette=picture.quantize(256))
    with atomic_file(target) as path:
        picture.save(path, optimize=True)
        size = os.path.getsize(path)
        if size > MAX_PICTURE:
            raise ValueError(f'{target} has {size} bytes, more than {MAX_PICTURE}.')


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in one step."""
    with atomic_file(path) as part:
        Path(part).write_text(text)
