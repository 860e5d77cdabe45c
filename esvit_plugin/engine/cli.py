"""The front end of every tool: errors in a few lines, exit codes, no leftovers."""

import contextlib
import io
import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable

from .signals import kill_workers

MAX_LINES = 3
TRACEBACK = 'ESVIT_TRACEBACK'
HINT = f'Set {TRACEBACK}=1 to see where it happened.'
# mmengine puts this before the message of each constructor that failed.
_BUILT = re.compile(r'^class `(\w+)` in \S+?\.py: ')
# The last line of a traceback; a data loader makes whole ones a message.
_RAISED = re.compile(r'^[\w.]+(?:Error|Exception): ', re.M)


# The commands whose work several processes share; the others would each do it all.
SHARED_COMMANDS = ('train', 'test', 'knn')


class Failure(RuntimeError):
    """An error at run time whose message says all that a user needs."""


# What our own checks and Python's own ones raise with a message that says it all.
DELIBERATE = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    SyntaxError,
    FloatingPointError,
    Failure,
)


def run_tool(main: Callable[[], object]) -> None:
    """Run a program and end it with at most three lines when it fails.

    ``ESVIT_TRACEBACK=1`` or the option ``--traceback`` prints the traceback before.
    Of several processes that ``dist_run`` started the first one prints; all record
    what happened for the launcher.

    Args:
        main: The program; it reads its arguments itself.

    Raises:
        SystemExit: With 1 after an error, with 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be UTF-8, and are printed as in printable().
            stream.reconfigure(errors='backslashreplace')
    try:
        _check_alone(main)
        main()
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
    except SystemExit as error:
        # A launcher ends the others when the first has ended, and its signal would
        # take the place of the exit code that says why.
        if isinstance(error.code, int) and error.code > 128:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    except Exception as error:
        report(describe(error), error)
        raise SystemExit(1) from error
    finally:
        _leave()


def _check_alone(main: Callable[[], object]) -> None:
    """Refuse several processes of torchrun for a command that is for one.

    Raises:
        ValueError: If all of them would do the same, and write the same files.
    """
    package, _, name = main.__module__.rpartition('.')
    number = os.environ.get('WORLD_SIZE', '1')
    if (
        package.endswith('.commands')
        and name not in SHARED_COMMANDS
        and 'TORCHELASTIC_RUN_ID' in os.environ
        and number != '1'
    ):
        raise ValueError(
            f'torchrun started {number} processes, which would all do the same and '
            f'write the same files. Start esvit {name.replace("_", "-")} without it.'
        )


def report(text: str, error: BaseException | None = None) -> None:
    """Say what went wrong: on stderr, and to a launcher if there is one.

    Args:
        text: The message, a few lines.
        error: Its traceback is printed too where the user asks for that.
    """
    if error is not None and wants_traceback():
        traceback.print_exception(error)
    rank, record = process_rank(), os.environ.get('TORCHELASTIC_ERROR_FILE')
    if record:
        extra = dict(timestamp=str(int(time.time())))
        # A full disk, or a folder that was cleared, must not hide the error itself.
        with contextlib.suppress(OSError):
            # In one step: a launcher reads it whenever this process ends.
            with open(f'{record}.part', 'w', encoding='utf-8') as file:
                json.dump(dict(message=dict(message=text, extraInfo=extra)), file)
            os.replace(f'{record}.part', record)
            if rank:
                return  # the launcher prints it if it was the first
    place = f' (process {rank})' if rank else ''
    print(f'error{place}: {text}', file=sys.stderr, flush=True)


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks."""
    asked = os.environ.get(TRACEBACK, '') not in ('', '0')
    return asked or '--traceback' in sys.argv


def process_rank() -> int:
    """The number of this process among those of a launcher."""
    rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or ''
    return int(rank) if rank.isdigit() else 0


def describe(error: BaseException) -> str:
    """An error in at most three lines.

    Args:
        error: The exception.

    Returns:
        Its message, without the places that mmengine and data loaders put before it;
        where it says too little by itself, its kind and how to get the traceback.
    """
    text = _message(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and (isinstance(error, DELIBERATE) or _is_sentence(error)):
        return '\n'.join(lines[:MAX_LINES])
    kind = type(error).__name__
    lines = [f'{kind}: {lines[0]}', *lines[1:]] if lines else [f'{kind}.']
    return '\n'.join([*lines[: MAX_LINES - 1], HINT])


def check_output(path: str, *inputs: str) -> None:
    """Refuse a file to write that cannot be written, or that is read first.

    Its folder is made when it is written, by ``atomic_file``; a program that is refused
    before leaves none.

    Args:
        path: The file.
        *inputs: Files that the program reads; those that do not exist are left to it.

    Raises:
        OSError: If its folder cannot be made or written to.
        ValueError: If it is a folder, or one of the inputs.
    """
    if os.path.isdir(path) or not os.path.basename(path):
        raise ValueError(f'{path} is a folder; name a file to write.')
    check_output_folder(os.path.dirname(path) or os.curdir)
    for other in inputs:
        # Links too.
        there = os.path.exists(path) and os.path.exists(other)
        if there and os.path.samefile(path, other):
            raise ValueError(
                f'{path} is what is read, and is not overwritten; name another file '
                'to write.'
            )


def check_output_folder(folder: str) -> None:
    """Refuse a folder to write into that cannot be made or written to.

    Raises:
        OSError: If it, or the one that it would be made in, is not such a folder.
    """
    there = os.path.abspath(folder)
    # A link that leads nowhere is in the way, too.
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise NotADirectoryError(
            f'{folder} cannot be a folder: {there} is no folder; name another.'
        )
    if not os.access(there, os.W_OK):
        raise PermissionError(f'{there} cannot be written to; name another folder.')


def check_at_least(least: int, **options: int | None) -> None:
    """Refuse options of the command line that are too small.

    Raises:
        ValueError: If one is; None passes.
    """
    for name, value in options.items():
        if value is not None and value < least:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} must be >= {least}, got {value}.')


def _is_sentence(error: BaseException) -> bool:
    """Whether a KeyError is a message, and not only the key."""
    return isinstance(error, KeyError) and ' ' in _plain(error)


def _plain(error: BaseException) -> str:
    """The text of an error; that of a KeyError as written, not quoted."""
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return error.args[0]
    return str(error)


def _message(error: BaseException) -> str:
    """The text of an error without what others put before it."""
    if isinstance(error, SyntaxError) and error.filename:
        line = (error.text or '').strip()
        return f'{error.filename}, line {error.lineno}: {error.msg}: {line}'
    text = _plain(error)
    if 'Traceback (most recent call last)' in text:
        # From a worker: the innermost message is the last one.
        raised = [*_RAISED.finditer(text)]
        text = text[raised[-1].end() :] if raised else text
    name = None
    while built := _BUILT.match(text):
        name, text = built[1], text[built.end() :]
        # A KeyError is quoted once more by each.
        if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':
            text = text[1:-1]
    return f'{name}: {text}' if name and name not in text else text


def _leave() -> None:
    """End the processes that would go on, and write out what was printed."""
    kill_workers()
    for stream in (sys.stdout, sys.stderr):
        # E.g. when the reader of a pipe has gone.
        with contextlib.suppress(OSError):
            stream.flush()
