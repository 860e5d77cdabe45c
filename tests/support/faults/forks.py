"""Run the command-line tools in forks of this process, which has all imported.

A program starts in milliseconds so, and sees what it would see in a shell: its own
``sys.argv``, working directory, process group, standard streams (files) and exit code.
"""

import atexit
import contextlib
import faulthandler
import gc
import multiprocessing.util
import os
import re
import runpy
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import cv2
import matplotlib.pyplot  # noqa: F401
import mmengine.config.config
import mmengine.runner.runner
import numpy as np
import sklearn.linear_model  # noqa: F401
import sklearn.manifold  # noqa: F401
import timm  # noqa: F401
import torch
import torch.distributed.elastic.multiprocessing  # noqa: F401
from mmpretrain.utils import register_all_modules

import esvit_plugin  # noqa: F401
from support.paths import ROOT
from support.training import fresh_globals

TINY = Path(__file__).with_name('tiny.py')
LIMIT = 180
_started = []

register_all_modules(init_default_scope=False)
# Half of a tiny training's time would go into the beauty of the config in its log, and
# into asking compilers for their versions.
mmengine.config.config.FormatCode = lambda text, **_: (text, True)
mmengine.runner.runner.collect_env = dict


class Tool:
    """A program in a fork.

    Attributes:
        pid: Its process, and its process group.
        code: As a shell would report it: 128 + the signal that killed it.
    """

    def __init__(self, name, args, env, cwd, folder):
        number = len(_started)
        self.files = [Path(folder, f'.{number}.{kind}') for kind in ('out', 'err')]
        self.code = None
        gc.freeze()
        self.pid = os.fork()
        if self.pid == 0:
            _become(name, [str(arg) for arg in args], env, cwd, self.files)
        _started.append(self)

    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
                # Now: later its number may be another program's.
                self._kill_group()
        return self.code

    def wait(self, timeout=LIMIT):
        """Wait for the end; after the time-out all is killed and the test fails."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f'no end after {timeout} s:\n{self.tail}')
            time.sleep(0.005)
        return self

    def wait_for(self, condition, timeout=LIMIT):
        """Wait until something is true, or for a text of the output."""
        end = time.monotonic() + timeout
        wanted = condition
        if isinstance(wanted, str):
            condition = lambda: wanted in self.text  # noqa: E731
        while not condition():
            assert self.poll() is None, f'ended with {self.code}:\n{self.tail}'
            assert time.monotonic() < end, f'too late:\n{self.tail}'
            time.sleep(0.005)
        return self

    def send(self, number):
        os.kill(self.pid, number)

    def send_group(self, number):
        os.killpg(self.pid, number)

    def kill(self):
        """Kill the program and all that it started."""
        if self.code is None:
            self._kill_group()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.code = 137

    def _kill_group(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self, number):
        with contextlib.suppress(FileNotFoundError):
            return self.files[number].read_text(errors='replace')
        return ''

    @property
    def out(self):
        return self._read(0)

    @property
    def err(self):
        return self._read(1)

    @property
    def text(self):
        return self.out + self.err

    @property
    def tail(self):
        """The end of the output, for a failing test."""
        out = self.out.splitlines()[-4:]
        return '\n'.join(line[:200] for line in [*out, *self.err.splitlines()[-40:]])

    @property
    def message(self):
        """What it says on stderr beside the lines of a log."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return '\n'.join(line for line in lines if not _LOG.match(line))


_LOG = re.compile(r'\d\d/\d\d \d\d:\d\d:\d\d - |\d{4}/\d\d/\d\d \d\d:\d\d')


def start_tool(name, *args, env=None, cwd=None, folder):
    """Start a tool, by its path below tools/, or another script by its whole path.

    Args:
        name: The script.
        *args: Its command line.
        env: Variables of the environment beside those of this process.
        cwd: Its working directory; default the repository.
        folder: Where the files of its output are put.
    """
    return Tool(name, args, env or {}, cwd or ROOT, folder)


def run_tool(name, *args, timeout=LIMIT, **kwargs):
    """Run a tool to its end; see ``start_tool``."""
    return start_tool(name, *args, **kwargs).wait(timeout)


def run_function(function, timeout=LIMIT, folder=None, **kwargs):
    """Run a function in a fork as if it was a program."""
    return start_tool(function, folder=folder, **kwargs).wait(timeout)


def kill_all():
    """End what a test has left running."""
    while _started:
        _started.pop().kill()


def _become(name, args, env, cwd, files):
    """Turn a fork into a program; does not return."""
    code = 1
    try:
        os.setpgid(0, 0)
        faulthandler.disable()
        for number in (1, 2):
            target = os.open(
                files[number - 1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            )
            os.dup2(target, number)
            os.close(target)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, 'w', 1, closefd=False)
        sys.stderr = os.fdopen(2, 'w', 1, closefd=False)
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        # What pytest wants done at its end is not done at that of a program.
        atexit._clear()
        atexit.register(multiprocessing.util._exit_function)
        os.environ.update({key: str(value) for key, value in env.items()})
        os.environ.pop('PYTEST_CURRENT_TEST', None)
        os.chdir(cwd)
        fresh_globals()
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
        torch.manual_seed(0)
        np.random.seed(0)
        path = name if callable(name) else str(ROOT / 'tools' / name)
        sys.argv = [path if isinstance(path, str) else 'function', *args]
        code = _run(path)
    except BaseException:  # nothing of a fork may return into pytest
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(code)


def run_script(name):
    """Run a tool inside a fork, as Python runs a script."""
    path = str(ROOT / 'tools' / name)
    sys.path.insert(0, os.path.dirname(path))
    runpy.run_path(path, run_name='__main__')


def _run(program):
    """Run a script or function; its exit code, as Python's own."""
    code = 0
    try:
        program() if callable(program) else run_script(program)
    except SystemExit as error:
        code = error.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return code & 0xFF
