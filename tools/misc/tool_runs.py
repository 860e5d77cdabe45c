"""What the programs that write docs/ share: running tools, tables, small pictures."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from mmengine.runner import find_latest_checkpoint
from PIL import Image

from esvit_plugin.datasets import PHOTO_NAMES
from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.visualization.logs import read_scalars

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/demo/esvit_swin_photos.py'
# Whole windows in every stage of the demo's backbone, which 224 px does not give.
SIZE = 256
MAX_PICTURE = 1_000_000  # bytes
# The parts of a page that a program fills.
PATTERNS = {
    'origin': r'Written by `.*\.(?=\n)',
    'commands': r'```bash\n(?:.*\n)*?```',
    'table': r'\|.*\|(?:\n\|.*\|)*',
}


class Done(NamedTuple):
    """A command that ended well.

    Args:
        command: As to be typed in the root of the repository.
        output: What it printed.
        peak: The highest resident memory of its process in MiB. Defaults to 0, unknown.
    """

    command: str
    output: str
    peak: float = 0.0

    def number(self, pattern: str) -> float:
        """The last number that the pattern's one group finds in the output.

        Raises:
            ValueError: If there is none.
        """
        numbers = re.findall(pattern, self.output)
        if not numbers:
            raise ValueError(f'{self.command}\nprinted no {pattern!r}.')
        return float(numbers[-1])


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
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, ['python', *words])
    # In kB
    peak = usage.ru_maxrss / 2**10
    return Done(wrapped(['python', *words]), ''.join(output), peak)


def wrapped(words: Sequence[str], width: int = 88) -> str:
    """A command on several lines."""
    lines = ['']
    for word in map(shlex.quote, words):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append('   ')
        lines[-1] += f' {word}' if lines[-1] else word
    return ' \\\n'.join(lines)


def train(work_dir: str, *options: str) -> tuple[Done, str]:
    """Train the demo, or go on where it was stopped; a finished one is left as it is.

    Args:
        work_dir: Its work folder, seen from the root.
        *options: ``--cfg-options``, each KEY=VALUE.

    Returns:
        The command, and the last checkpoint.
    """
    extra = ['--cfg-options', *options] if options else []
    done = run('tools/train.py', CONFIG, '--work-dir', work_dir, '--resume', *extra)
    checkpoint = find_latest_checkpoint(ROOT / work_dir)
    return done, os.path.relpath(ROOT / checkpoint, ROOT)


def save_untrained(config: str, path: str, seed: int = 0) -> Done:
    """Write a checkpoint of a config's model with random weights."""
    # Double quotes, which a shell leaves alone between single ones.
    return run(
        '-c',
        f'import pathlib, torch, esvit_plugin; torch.manual_seed({seed}); '
        f'model = esvit_plugin.get_model({json.dumps(config)}); '
        f'path = pathlib.Path({json.dumps(path)}); '
        'path.parent.mkdir(parents=True, exist_ok=True); '
        'torch.save(dict(state_dict=model.state_dict()), path)',
    )


def match(
    config: str, checkpoint: str, folder: str, num_pictures: int, *options: Any
) -> tuple[Done, dict[str, float]]:
    """Match all photographs with their mirrored copies.

    Returns:
        The command, and the mean of each measure.
    """
    done = run(
        'tools/analysis_tools/correspondence.py',
        *(config, checkpoint, *PHOTO_NAMES, '--size', SIZE, *options),
        *('--num-pictures', num_pictures, '-o', folder),
    )
    return done, read_json(f'{folder}/correspondence.json')['mean']


def seconds(folder: str) -> float:
    """Seconds of all iterations, at the median of those that the log shows."""
    scalars = read_scalars(str(ROOT / folder))
    last = max(step for step, _ in scalars['time'])
    return last * median(value for _, value in scalars['time'])


def read_json(path: str) -> Any:
    """The content of a file, seen from the root."""
    return json.loads((ROOT / path).read_text())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [header, ['---', *['--:'] * (len(header) - 1)], *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def code(*runs: Done) -> str:
    """Commands in a Markdown block."""
    return '\n'.join(['```bash', *(done.command for done in runs), '```'])


def fill_page(page: Path, out: Path, program: str, **parts: list[str]) -> None:
    """Write a page anew with other commands and numbers; its words stay.

    Args:
        page: The page as it is.
        out: The file to write.
        program: The file of the running program, whose command the page names.
        **parts: What takes the place of each 'commands' block and 'table', in the
            page's order.

    Raises:
        ValueError: If the page has another number of them.
    """
    text = page.read_text()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'a CPU'
    version = torch.__version__.split('+')[0]
    written = f'`python {os.path.relpath(program, ROOT)}`, with torch {version}'
    parts['origin'] = [f'Written by {written} on {device}.']
    for name, replacements in parts.items():
        pieces = re.split(PATTERNS[name], text)
        if len(pieces) != len(replacements) + 1:
            raise ValueError(
                f'{page} has {len(pieces) - 1} {name} where {len(replacements)} belong.'
            )
        joined = zip(pieces, [*replacements, ''], strict=True)
        text = ''.join(itertools.chain.from_iterable(joined))
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as part:
        Path(part).write_text(text)
    print(f'\n{text}\nWritten into {out}')


def save_small(source: Path, target: Path) -> None:
    """Copy a picture as a PNG, in all of its colours.

    A palette would save half of the size, and show photographs in bands or dots.

    Raises:
        ValueError: If the file is larger than 1 MB.
    """
    with Image.open(source) as file:
        picture = file.convert('RGB')
    with atomic_file(target) as path:
        picture.save(path, optimize=True)
        size = os.path.getsize(path)
        if size > MAX_PICTURE:
            raise ValueError(f'{target} has {size} bytes, more than {MAX_PICTURE}.')
