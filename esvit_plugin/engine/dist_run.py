"""torch.distributed.run that ends as our tools do.

``python -m esvit_plugin.engine.dist_run`` takes the arguments of
``python -m torch.distributed.run`` (torchrun). What differs:

* SIGUSR1, which Slurm can send before a time limit, is passed on as SIGTERM, SIGINT and
  SIGHUP are: to the processes it started, and not to their data loaders. What is
  ignored (``nohup``) stays ignored.
* They have ``ESVIT_SHUTDOWN_SECONDS`` (default 120) to write a checkpoint and end. A
  second Ctrl-C ends everything at once. Nothing is left running.
* Checkpoints bear the job's name, ``ESVIT_JOB``, so that processes that are started
  again (``--max_restarts``) find those of their own job. One that was told to end by
  such a signal ends the run instead.
* It exits with the code of the process that failed first, or with 128 + the signal, and
  says in three lines what happened.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any, NoReturn

from torch.distributed import run as torch_run
from torch.distributed.elastic import multiprocessing
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import SignalException, api
from torch.distributed.elastic.multiprocessing.errors import (
    ChildFailedError,
    ProcessFailure,
)

from .cli import report, run_tool, wants_traceback

SIGNALS = ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1')
TIMEOUT = 'ESVIT_SHUTDOWN_SECONDS'


def shutdown_seconds() -> int:
    """How long the processes may take to end after a signal."""
    text = os.environ.get(TIMEOUT, '120')
    if not text.isdigit():
        raise ValueError(f'{TIMEOUT} must be a number of seconds, got {text!r}.')
    return int(text)


class _Signals:
    """The handler of all signals, and the processes that were started.

    The first signal ends torch's agent, which passes it on and waits. A later one is
    of no use, but for Ctrl-C, which ends everything at once.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.starting = False
        # Whether a process was told to end, by another than the launcher
        self.told: bool | None = None
        self.handlers: list[Any] = []

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        if self.first is None:
            self.first = number
            if not self.starting:
                self.end()
        elif number == signal.SIGINT and not self.starting:
            self.kill_groups()
            os._exit(128 + number)

    def end(self) -> NoReturn:
        """Raise what torch's agent waits for."""
        sent = signal.Signals(self.first or signal.SIGTERM)
        raise SignalException(f'Got {sent.name}.', sent)

    def kill_groups(self) -> None:
        """Kill what is left of the processes and of those that they started."""
        for handler in self.handlers:
            with contextlib.suppress(OSError):
                os.killpg(handler.proc.pid, signal.SIGKILL)


def prepare(seconds: int) -> _Signals:
    """Replace torch's signal handling, which differs from version to version.

    Args:
        seconds: Time from a signal to the end by force.
    """
    signals = _Signals()
    taken = [getattr(signal, name) for name in (*SIGNALS, 'SIGQUIT')]
    # By nohup, or for a job in the background. The processes inherit that.
    ignored = [n for n in taken if signal.getsignal(n) is signal.SIG_IGN]

    class Context(api.SubprocessContext):
        def _start(self) -> None:
            for number in ignored:  # torch has just taken them
                signal.signal(number, signal.SIG_IGN)
            # Half of the processes would be left behind by a signal in between.
            signals.starting = True
            super()._start()
            signals.told = None
            signals.handlers = list(self.subprocess_handlers.values())
            signals.starting = False
            if signals.first is not None:
                signals.end()

        def close(self, death_sig: Any = None, timeout: int = 30) -> None:
            # Not to the whole group, as torch does: data loaders would die of it
            # while their process still needs them.
            running = [h.proc for h in signals.handlers if h.proc.poll() is None]
            if signals.told is None:  # before others end of what is sent here
                codes = [handler.proc.poll() for handler in signals.handlers]
                signals.told = was_told([code for code in codes if code is not None])
            for process in running:
                process.send_signal(death_sig or signal.SIGTERM)
            end = time.monotonic() + seconds
            while time.monotonic() < end and any(p.poll() is None for p in running):
                time.sleep(0.05)
            signals.kill_groups()
            super().close(signal.SIGKILL, timeout)

    multiprocessing.SubprocessContext = Context  # type: ignore[misc]
    # torch sets this function as the handler of its signals.
    api._terminate_process_handler = signals  # type: ignore[assignment]
    for name in SIGNALS:
        number = getattr(signal, name)
        if number not in ignored:
            signal.signal(number, signals)
    return signals


def end_if_told(signals: _Signals) -> None:
    """Have torch's agent start nothing again after a process that was told to end."""
    look = LocalElasticAgent._monitor_workers

    def watched(self: LocalElasticAgent, group: WorkerGroup) -> RunResult:
        result = look(self, group)
        if signals.told:
            self._remaining_restarts = 0
        return result

    LocalElasticAgent._monitor_workers = watched  # type: ignore[method-assign]


def was_told(codes: list[int]) -> bool:
    """Whether a process ended as one does that was told to by one of ``SIGNALS``."""
    numbers = [getattr(signal, name) for name in SIGNALS]
    # Of a training, and of a process that the signal met before it took signals.
    return any(128 + number in codes or -number in codes for number in numbers)


def first_failure(failures: dict[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """The process to blame, by the second, and then by how it ended."""

    def order(rank: int) -> tuple[int, int]:
        failure = failures[rank]
        # Crashes first: errors of the others follow from them.
        crash = failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM
        return failure.timestamp, 0 if crash else 1 if recorded(failure) else 2

    rank = min(failures, key=order)
    return rank, failures[rank]


def recorded(failure: ProcessFailure) -> str | None:
    """What a process recorded for the launcher."""
    message = failure.message
    return message['message'] if isinstance(message, dict) else None


def explain(failures: dict[int, ProcessFailure]) -> str | None:
    """What to say about processes that failed; nothing if the first one has said it."""
    rank, failure = first_failure(failures)
    text = recorded(failure)
    if text is None:
        code = failure.exitcode
        number = -code if code < 0 else code - 128
        if number in list(signal.Signals):
            how = f'was ended by {signal.Signals(number).name}'
        else:
            how = f'ended with exit code {code}'
        if number == signal.SIGKILL:
            how += ': memory may have run out'
        return f'process {rank} {how}.'
    if 0 in failures and recorded(failures[0]) == text:
        return None
    return f'{text}\n(process {rank} failed first)'


def main() -> None:
    """Start the processes, wait for them, and leave with their exit code."""
    seconds = shutdown_seconds()
    if not wants_traceback():
        # torch reports each step of an end with a line or a page.
        logging.disable(logging.ERROR)
    signals = prepare(seconds)
    end_if_told(signals)
    os.environ['ESVIT_JOB'] = f'{socket.gethostname()}-{os.getpid()}-{time.time():.0f}'
    try:
        torch_run.run(torch_run.parse_args(None))
    except SignalException as error:
        name = error.sigval.name
        print(f'{name}: all processes have ended.', file=sys.stderr, flush=True)
        raise SystemExit(128 + error.sigval) from error
    except ChildFailedError as error:
        text = explain(error.failures)
        if text:
            report(text)
        code = first_failure(error.failures)[1].exitcode
        raise SystemExit(128 - code if code < 0 else code) from error
    finally:
        signals.kill_groups()


if __name__ == '__main__':
    run_tool(main)
