"""Signals that ask a program to end, kept until it can."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from ..datasets.loaders import SIGNALS

# A launcher passes on the Ctrl-C that its processes got from the terminal, too.
REPEATED = 2.0


class SignalKeeper:
    """Remembers the first signal that asks this process to end.

    A second Ctrl-C ends the process at once. Of several processes each may get the
    first one twice, from the terminal and from its launcher.

    Args:
        launched: Whether a launcher started several processes.
    """

    def __init__(self, launched: bool) -> None:
        self.received = 0
        self._since = 0.0
        self._patience = REPEATED if launched else 0.0
        self._pid = os.getpid()
        self._before: dict[int, Any] = {}

    def open(self) -> None:
        """Take the signals; only the main thread of a process can."""
        for name in SIGNALS:
            number = getattr(signal, name, None)
            # What was told to be ignored (nohup, a job in the background) stays so.
            if number is None or signal.getsignal(number) is signal.SIG_IGN:
                continue
            try:
                self._before[number] = signal.signal(number, self._keep)
            except ValueError:  # another thread
                return

    def close(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            if handler is not None:
                signal.signal(number, handler)
        self._before.clear()

    def _keep(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a loader worker that was forked: its parent decides
        if not self.received:
            self.received, self._since = number, time.monotonic()
            again = '; Ctrl-C again ends it at once' if number == signal.SIGINT else ''
            # Not print: the signal may have come in the middle of one.
            text = f'\n{name_of(number)}: ending after this iteration{again}.\n'
            if os.environ.get('RANK', '0') == '0':
                os.write(2, text.encode())
        elif number == signal.SIGINT and (
            time.monotonic() - self._since >= self._patience
        ):
            kill_workers()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)


def name_of(number: int) -> str:
    """The name of a signal."""
    return signal.Signals(number).name


def kill_workers() -> None:
    """End the worker processes of this one, also those that hang.

    Python asks a loader's workers to end when it does, and waits without end.
    """
    workers = multiprocessing.active_children()
    if not workers or threading.current_thread() is not threading.main_thread():
        return
    # torch would raise an error for each worker that is killed.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()
        worker.join(5)
    signal.signal(signal.SIGCHLD, before)


def stop_for(number: int, message: str, speak: bool) -> None:
    """End the program by a signal that was kept.

    Args:
        number: The signal.
        message: How to go on.
        speak: Whether this process says so.

    Raises:
        SystemExit: Always, with 128 + the signal.
    """
    if speak:
        print(message, file=sys.stderr, flush=True)
    kill_workers()
    raise SystemExit(128 + number)
